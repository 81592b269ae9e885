//! Reads the configuration file, and asks the system what the file leaves to it.

use super::spool::is_playable;
use super::zone::host_zone;
use crate::config::{Config, Mistake, Mistakes, nearest};
use crate::media::file::FileFailure;
use crate::media::player::site_names;
use crate::media::prompts::{self, Language};
use crate::plan::Plan;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What to do where no time zone is known.
pub const ZONE_REMEDY: &str = "set timezone in [numbers], such as \"Europe/Madrid\"";
/// Longest configuration file, in bytes: enough for the most routes that there may be.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why there is no configuration.
#[derive(Debug)]
pub enum SettingsError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The file has mistakes.
    Mistakes(Mistakes),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::Unreadable(path, e) => {
                write!(f, "{}: {e}; name the file with -c FILE", path.display())
            }
            SettingsError::Mistakes(mistakes) => mistakes.fmt(f),
        }
    }
}

impl std::error::Error for SettingsError {}

/// Reads and checks a configuration file, and the files that it names; fills in what they leave to
/// the host.
pub fn load(path: &Path) -> Result<Config, SettingsError> {
    let unreadable = |e| SettingsError::Unreadable(path.to_path_buf(), e);
    let size = path.metadata().map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        let problem = format!("is {size} bytes long, {FILE_BYTES_MAX} are read");
        return Err(unreadable(io::Error::other(problem)));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let config = Config::parse(&text, path).map_err(SettingsError::Mistakes)?;
    check_files(&config, path)?;
    check_prompts(&config, path)?;
    let config = on_host(config);
    check_call_backs(&config, path)?;
    Ok(config)
}

/// What an empty file gives on this host.
pub fn defaults() -> Config {
    on_host(Config::default())
}

fn on_host(config: Config) -> Config {
    config
        .with_host_name(&host_name())
        .with_timezone(host_zone())
}

/// What of a configuration works and is not what its writer expects.
pub fn doubts(config: &Config) -> Vec<String> {
    let undated = config.without_timezone();
    let undated =
        undated.map(|what| format!("no time zone is known: {what} are in UTC; {ZONE_REMEDY}"));
    undated.into_iter().collect()
}

fn check_files(config: &Config, path: &Path) -> Result<(), SettingsError> {
    none_of(config.files().into_iter().filter_map(|(key, file)| {
        let error = File::open(file).err()?;
        Some(Mistake {
            file: path.display().to_string(),
            line: 0,
            column: 0,
            key: key.into(),
            problem: format!("{} cannot be read: {error}", file.display()),
            remedy: "name a file that the user of voipd may read".into(),
        })
    }))
}

/// What menus and queues say must be there to be said.
fn check_prompts(config: &Config, path: &Path) -> Result<(), SettingsError> {
    let menus = config.menus.iter();
    let menus = menus.flat_map(|m| m.prompts().map(move |p| ("menu", &*m.name, m.line, p)));
    let queues = config.queues.iter();
    let queues = queues.flat_map(|q| q.prompts().map(move |p| ("queue", &*q.name, q.line, p)));
    let all = menus.chain(queues);
    none_of(all.filter_map(|(table, name, line, prompt)| {
        let (why, remedy) = unsayable(config, prompt)?;
        Some(Mistake {
            file: path.display().to_string(),
            line: line.0,
            column: 1,
            key: table.into(),
            problem: format!("{table} {name} says \"{prompt}\", and {why}"),
            remedy,
        })
    }))
}

/// Why a prompt is neither of the catalogue nor of the site, in the language that is spoken, and
/// what to do.
fn unsayable(config: &Config, prompt: &str) -> Option<(String, String)> {
    let language = Language::from(config.node.locale);
    if prompts::find(language, prompt).is_some() {
        return None;
    }
    let own = format!("{}/{prompt}.wav", language.directory());
    let near = nearest(prompt, prompts::names());
    let missing = "there is no such prompt".to_owned();
    let Some(directory) = &config.services.prompts else {
        let remedy = format!(
            "name one of the catalogue, or set prompts in [services] to a directory with {own}"
        );
        let near = near.map(|near| format!("did you mean \"{near}\"?"));
        return Some((missing, near.unwrap_or(remedy)));
    };
    let file = directory.join(own).display().to_string();
    match is_playable(directory, site_names(language, prompt)) {
        Ok(()) => None,
        Err(FileFailure::Missing) => {
            let put = format!("put it into {file}");
            let remedy = match near {
                Some(near) => format!("{put}, or write \"{near}\""),
                None => format!("{put}, or name one of the catalogue"),
            };
            Some((missing, remedy))
        }
        Err(why) => {
            let remedy = format!("make {file} one of PCM with 16 bits, A-law or u-law");
            Some((format!("its file cannot be played: {why}"), remedy))
        }
    }
}

/// No call back may become a call to an emergency number by what routes make of it.
fn check_call_backs(config: &Config, path: &Path) -> Result<(), SettingsError> {
    if config.disa.call_back.is_empty() {
        return Ok(());
    }
    let plan = Plan::compile(config);
    let numbers = config.disa.call_back.iter();
    let made = numbers.filter_map(|number| Some((number, plan.made_emergency(number)?)));
    none_of(made.map(|(number, (line, route, emergency))| Mistake {
        file: path.display().to_string(),
        line,
        column: 1,
        key: "disa.call_back".into(),
        problem: format!("route {route} makes {number} the emergency number {emergency}"),
        remedy: format!("take {number} off the list of disa.call_back, or change the route"),
    }))
}

fn none_of(mistakes: impl IntoIterator<Item = Mistake>) -> Result<(), SettingsError> {
    let mistakes: Vec<Mistake> = mistakes.into_iter().collect();
    match mistakes.is_empty() {
        true => Ok(()),
        false => Err(SettingsError::Mistakes(Mistakes(mistakes))),
    }
}

/// The name that the system gives this host; empty if it gives none.
#[allow(unsafe_code)]
pub fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is ours and one byte longer than what may be written.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    if result != 0 {
        return String::new();
    }
    let length = name.iter().position(|b| *b == 0).unwrap_or(0);
    String::from_utf8_lossy(name.get(..length).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_route_makes_a_call_back_an_emergency_call() {
        let text = |route: &str| {
            format!(
                "[numbers]\nemergency = [\"112\"]\n[disa]\npin = \"482913\"\nuser = \"100\"\n\
                 call_back = [\"99112\", \"600123456\"]\n[[trunk]]\nname = \"itsp\"\n\
                 uri = \"sip:192.0.2.1\"\n[[route]]\nname = \"emergency\"\nmatch = \"112\"\n\
                 to = [\"trunk:itsp\"]\n[[route]]\nname = \"out\"\n{route}\n"
            )
        };
        let path = Path::new("voip.toml");
        let check = |route| {
            let config = Config::parse(&text(route), path).unwrap_or_else(|m| panic!("{m}"));
            check_call_backs(&config, path).map_err(|e| e.to_string())
        };
        for route in [
            "match = \"99X.\"\nstrip = 2\nto = [\"trunk:itsp\"]",
            "match = \"99X.\"\nfrom = [\"user:7\"]\nstrip = 2\nto = [\"trunk:itsp\"]",
            "regex = \"99(.*)\"\nreplace = \"$1\"\nto = [\"trunk:itsp\"]",
            "match = \"99112\"\nto = [\"trunk:itsp\", \"number:112\"]",
        ] {
            let said = check(route).unwrap_err();
            let wanted = "voip.toml:14:1: disa.call_back: route out makes 99112 the emergency \
                number 112; take 99112 off the list of disa.call_back, or change the route";
            assert_eq!(said, wanted, "{route}");
        }
        check("match = \"99X.\"\nstrip = 1\nto = [\"trunk:itsp\"]").unwrap();
        check("match = \"99X.\"\nrefuse = 403").unwrap();
    }

    /// Prompts of the site are there by their path, in the language that is spoken.
    #[test]
    fn what_menus_say_may_be_the_sites() {
        let site = std::env::temp_dir().join(format!("voip-site-{}", std::process::id()));
        let put = |name: &str, bytes: &[u8]| {
            let file = site.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        };
        put("es/acme-welcome.alaw", &[0x55; 800]);
        put("es/custom/acme.gsm", &[0xd0; 33]);
        put("en/acme-closed.sln", &[0; 320]);
        put("es/acme-noise.wav", b"ID3 no WAV file");
        let path = Path::new("voip.toml");
        let check = |greeting: &str, locale: &str| {
            let text = format!(
                "[node]\nlocale = \"{locale}\"\n[services]\nprompts = \"{}\"\n[[menu]]\n\
                 name = \"main\"\ngreeting = \"{greeting}\"\nthen = \"hangup\"\n",
                site.display()
            );
            let config = Config::parse(&text, path).unwrap_or_else(|m| panic!("{m}"));
            check_prompts(&config, path).map_err(|e| e.to_string())
        };
        for (greeting, locale) in [
            ("acme-welcome", "es"),
            ("custom/acme", "es"),
            ("acme-closed", "en"),
            ("menu-welcome", "en"),
        ] {
            check(greeting, locale).unwrap();
        }
        let root = site.display();
        for (greeting, locale, wanted) in [
            (
                "acme-welcome",
                "en",
                format!(
                    "and there is no such prompt; put it into {root}/en/acme-welcome.wav, or write \
                     \"menu-welcome\""
                ),
            ),
            (
                "acme/opening-hours-of-the-shop",
                "es",
                format!(
                    "put it into {root}/es/acme/opening-hours-of-the-shop.wav, or name one of the \
                     catalogue"
                ),
            ),
            (
                "acme-noise",
                "es",
                format!(
                    "and its file cannot be played: it is no sound that can be read; make \
                     {root}/es/acme-noise.wav one of PCM with 16 bits, A-law or u-law"
                ),
            ),
        ] {
            let said = check(greeting, locale).unwrap_err();
            assert!(said.ends_with(&wanted), "{said}");
        }
        std::fs::remove_dir_all(&site).unwrap();
    }

    #[test]
    fn what_menus_say_must_be_there() {
        let text = "\n[[menu]]\nname = \"main\"\ngreeting = [\"menu-welcome\", \"menu-welcone\"]\n\
                    keys = { 1 = \"say:xyzzy\" }\n[[queue]]\nname = \"q\"\nagents = [\"1\"]\n\
                    overflow = \"say:goodby\"\n";
        let path = Path::new("voip.toml");
        let config = Config::parse(text, path).unwrap();
        let Err(mistakes) = check_prompts(&config, path) else {
            panic!("accepted");
        };
        assert_eq!(
            mistakes.to_string(),
            "voip.toml:2:1: menu: menu main says \"menu-welcone\", and there is no such prompt; \
             did you mean \"menu-welcome\"?\n\
             voip.toml:2:1: menu: menu main says \"xyzzy\", and there is no such prompt; \
             name one of the catalogue, or set prompts in [services] to a directory with \
             en/xyzzy.wav\n\
             voip.toml:6:1: queue: queue q says \"goodby\", and there is no such prompt; \
             did you mean \"goodbye\"?"
        );
    }
}
