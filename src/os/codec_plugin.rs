//! Loads the codec that others wrote (`src/media/codec/voip_codec.h`), before the process gives up
//! its rights. A library that is none, or of another version, is refused before any of its
//! functions but `voip_codec` is called; then it must code a frame.

#![allow(unsafe_code)]

use super::daemon::{EX_CONFIG, Fatal};
use crate::config::Config;
use crate::media::codec::plugin::{
    DecodesFrames, EncodesFrames, FRAME_SAMPLES, FRAME_SIZE, Library, Plugin,
};
use crate::media::room::Rooms;
use crate::wire::rtp::Coding;
use libc::{c_char, c_int, c_void};
use std::ffi::{CStr, CString};
use std::fmt::{self, Display, Formatter};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

/// `VOIP_CODEC_ABI`.
const ABI: u32 = 1;

/// How `struct voip_codec` begins, in every version.
#[repr(C)]
#[derive(Clone, Copy)]
struct Head {
    abi: u32,
    size: u32,
}

type Open = unsafe extern "C" fn() -> *mut c_void;
type Close = unsafe extern "C" fn(*mut c_void);
type Encode = unsafe extern "C" fn(*mut c_void, *const i16, *mut u8) -> c_int;
type Decode = unsafe extern "C" fn(*mut c_void, *const u8, *mut i16) -> c_int;
type Conceal = unsafe extern "C" fn(*mut c_void, *mut i16) -> c_int;

/// `struct voip_codec`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Table {
    head: Head,
    name: *const c_char,
    open_encoder: Option<Open>,
    encode: Option<Encode>,
    close_encoder: Option<Close>,
    open_decoder: Option<Open>,
    decode: Option<Decode>,
    conceal: Option<Conceal>,
    close_decoder: Option<Close>,
}

/// Why a library is no plugin.
#[derive(PartialEq, Eq, Debug)]
enum Flaw {
    /// The loader says why.
    Unloadable(String),
    /// It exports no `voip_codec`.
    NoPlugin,
    /// It was built with another version of the header.
    Version(u32),
    /// It lacks a function, or its table is too small.
    Incomplete,
    /// It is a plugin for something else.
    Other(String),
    /// It opens no state, or codes no frame.
    Useless,
}

impl Display for Flaw {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Unloadable(why) => write!(
                f,
                "cannot be loaded: {why}; install it with what it needs, readable by the user \
                 whom voipd runs as"
            ),
            Flaw::NoPlugin => f.write_str(
                "is no plugin of voipd: it has no function voip_codec; name a library that was \
                 made for voip_codec.h, and not the codec's own",
            ),
            Flaw::Version(theirs) => write!(
                f,
                "speaks version {theirs} of voip_codec.h, and this voipd version {ABI}: build it \
                 with this voipd's header"
            ),
            Flaw::Incomplete => f.write_str(
                "leaves out functions of voip_codec.h: all of them are needed; build it with this \
                 voipd's header",
            ),
            Flaw::Other(name) => write!(f, "is a plugin for {name}, not for G729"),
            Flaw::Useless => f.write_str(
                "codes nothing: its states cannot be opened, or refuse a frame of silence; ask \
                 who made it",
            ),
        }
    }
}

/// The functions of a plugin, all there.
#[derive(Clone, Copy, Debug)]
struct Functions {
    open_encoder: Open,
    encode: Encode,
    close_encoder: Close,
    open_decoder: Open,
    decode: Decode,
    conceal: Conceal,
    close_decoder: Close,
}

#[derive(Debug)]
struct Encoder(Functions, NonNull<c_void>);

#[derive(Debug)]
struct Decoder(Functions, NonNull<c_void>);

// SAFETY: voip_codec.h: a state is used by one thread at a time, not always the same one.
unsafe impl Send for Encoder {}
// SAFETY: as above.
unsafe impl Send for Decoder {}

impl Library for Functions {
    fn encoder(&self) -> Option<Box<dyn EncodesFrames>> {
        // SAFETY: voip_codec.h; the library is never unloaded.
        let state = NonNull::new(unsafe { (self.open_encoder)() })?;
        Some(Box::new(Encoder(*self, state)))
    }

    fn decoder(&self) -> Option<Box<dyn DecodesFrames>> {
        // SAFETY: voip_codec.h; the library is never unloaded.
        let state = NonNull::new(unsafe { (self.open_decoder)() })?;
        Some(Box::new(Decoder(*self, state)))
    }
}

impl EncodesFrames for Encoder {
    fn encode(&mut self, samples: &[i16; FRAME_SAMPLES], frame: &mut [u8; FRAME_SIZE]) -> bool {
        // SAFETY: the state is open, and ours alone; the arrays have the sizes of voip_codec.h.
        unsafe { (self.0.encode)(self.1.as_ptr(), samples.as_ptr(), frame.as_mut_ptr()) == 0 }
    }
}

impl DecodesFrames for Decoder {
    fn decode(&mut self, frame: &[u8; FRAME_SIZE], samples: &mut [i16; FRAME_SAMPLES]) -> bool {
        // SAFETY: as for encode.
        unsafe { (self.0.decode)(self.1.as_ptr(), frame.as_ptr(), samples.as_mut_ptr()) == 0 }
    }

    fn conceal(&mut self, samples: &mut [i16; FRAME_SAMPLES]) -> bool {
        // SAFETY: as for encode.
        unsafe { (self.0.conceal)(self.1.as_ptr(), samples.as_mut_ptr()) == 0 }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the state is open, and nobody uses it hereafter.
        unsafe { (self.0.close_encoder)(self.1.as_ptr()) }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the state is open, and nobody uses it hereafter.
        unsafe { (self.0.close_decoder)(self.1.as_ptr()) }
    }
}

/// Where legs meet, with the plugin of the configuration, which is loaded now.
pub(in crate::os) fn rooms(config: &Config) -> Result<Arc<Rooms>, Fatal> {
    let plugin = match &config.services.g729_plugin {
        Some(path) => Some(load(path).map_err(|flaw| refused(path, flaw))?),
        None => None,
    };
    Ok(Arc::new(Rooms::with(plugin)))
}

/// Whether the plugin of the configuration is there. None of it is run: who checks may be root.
pub(in crate::os) fn check(config: &Config) -> Result<(), Fatal> {
    let absent = |path: &PathBuf| {
        let error = std::fs::File::open(path).err()?;
        Some(refused(path, Flaw::Unloadable(error.to_string())))
    };
    let absent = config.services.g729_plugin.as_ref().and_then(absent);
    absent.map_or(Ok(()), Err)
}

fn refused(path: &Path, flaw: Flaw) -> Fatal {
    let why = format!("[services] g729_plugin: {} {flaw}", path.display());
    Fatal::new(EX_CONFIG, why)
}

fn load(path: &Path) -> Result<Plugin, Flaw> {
    let functions = functions(open(path)?)?;
    let works = || {
        let (mut encoder, mut decoder) = (functions.encoder()?, functions.decoder()?);
        let (mut frame, mut samples) = ([0; FRAME_SIZE], [0; FRAME_SAMPLES]);
        let both = encoder.encode(&samples, &mut frame) && decoder.decode(&frame, &mut samples);
        (both && decoder.conceal(&mut samples)).then_some(())
    };
    works().ok_or(Flaw::Useless)?;
    // As long as the process.
    Ok(Plugin::new(Box::leak(Box::new(functions))))
}

/// Loads a library for good; the table that it exports.
fn open(path: &Path) -> Result<*const Table, Flaw> {
    // Without a slash the loader would look elsewhere.
    let path = std::path::absolute(path).map_err(|e| Flaw::Unloadable(e.to_string()))?;
    let path = CString::new(path.as_os_str().as_bytes());
    let path = path.map_err(|e| Flaw::Unloadable(e.to_string()))?;
    // SAFETY: the operator named a library to run in this process.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        // SAFETY: the loader's text is valid until its next call, which is not made meanwhile.
        let why =
            unsafe { NonNull::new(libc::dlerror()).map(|text| CStr::from_ptr(text.as_ptr())) };
        let why = why.map_or_else(Default::default, |text| text.to_string_lossy().into_owned());
        return Err(Flaw::Unloadable(why));
    }
    // SAFETY: the library is open, the name ends with a zero.
    let symbol = unsafe { libc::dlsym(library, c"voip_codec".as_ptr()) };
    if symbol.is_null() {
        return Err(Flaw::NoPlugin);
    }
    // SAFETY: voip_codec.h says what this symbol is.
    let voip_codec: unsafe extern "C" fn() -> *const Table = unsafe { std::mem::transmute(symbol) };
    // SAFETY: as above.
    Ok(unsafe { voip_codec() })
}

/// The functions of a table, if it is whole.
fn functions(table: *const Table) -> Result<Functions, Flaw> {
    let Some(table) = NonNull::new(table.cast_mut()) else {
        return Err(Flaw::Incomplete);
    };
    // SAFETY: every version of the table begins so.
    let head = unsafe { table.cast::<Head>().read() };
    if head.abi != ABI {
        return Err(Flaw::Version(head.abi));
    }
    if (head.size as usize) < size_of::<Table>() {
        return Err(Flaw::Incomplete);
    }
    // SAFETY: the table is of this version, and as large as this one.
    let table = unsafe { table.read() };
    let name = match NonNull::new(table.name.cast_mut()) {
        // SAFETY: voip_codec.h: a string that lives as long as the process.
        Some(name) => unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy(),
        None => return Err(Flaw::Incomplete),
    };
    if !name.eq_ignore_ascii_case(Coding::G729.name()) {
        return Err(Flaw::Other(name.into_owned()));
    }
    let all = || {
        Some(Functions {
            open_encoder: table.open_encoder?,
            encode: table.encode?,
            close_encoder: table.close_encoder?,
            open_decoder: table.open_decoder?,
            decode: table.decode?,
            conceal: table.conceal?,
            close_decoder: table.close_decoder?,
        })
    };
    all().ok_or(Flaw::Incomplete)
}

#[cfg(test)]
mod tests;
