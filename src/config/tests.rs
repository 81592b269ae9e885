use super::*;
use std::fs;

/// Files under `tests/data/config`: `NAME.toml` goes in; `NAME.canonical` or `NAME.mistakes` comes
/// out. `UPDATE=1` writes what came out, for the author to read.
#[test]
fn pairs_of_text() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config");
    let mut seen = 0;
    let mut names: Vec<PathBuf> = fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    names.sort();
    for input in names {
        let text = fs::read_to_string(&input).unwrap();
        let name = input.file_name().unwrap().to_string_lossy().into_owned();
        let (extension, output) = match Config::parse(&text, &Path::new("/etc/voip").join(&name)) {
            Ok(config) => ("canonical", config.to_string()),
            Err(mistakes) => ("mistakes", format!("{mistakes}\n")),
        };
        let expected = input.with_extension(extension);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &output).unwrap();
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        // Recordings have a folder of the system's there (hier(7)).
        let wanted = match cfg!(target_os = "freebsd") {
            true => wanted.replace("/var/db/voip/spool", "/var/spool/voip"),
            false => wanted,
        };
        assert_eq!(output, wanted, "{name} against its .{extension}");
        seen += 1;
    }
    assert!(seen >= 10, "{seen} pairs");
}

#[test]
fn an_empty_file_serves_the_host_names_domain() {
    let config = Config::parse("", Path::new("/etc/voip/voip.toml")).unwrap();
    assert_eq!(config, Config::default());
    let shown: Vec<String> = config.sip.listen.iter().map(Listen::to_string).collect();
    assert_eq!(shown, ["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"]);
    let config = config.with_host_name("Pbx.Example.com");
    assert_eq!(config.node.default_domain(), "example.com");
    let domain_of = |host| config.node.domain_of(host);
    assert_eq!(domain_of("PBX.example.com."), Some("example.com"));
    assert_eq!(domain_of("example.com"), Some("example.com"));
    assert_eq!(domain_of("example.net"), None);
}

#[test]
fn host_names_of_every_kind() {
    for (host, domain) in [
        ("localhost", "localhost"),
        ("example.com", "example.com"),
        ("a.b.example.com", "b.example.com"),
        ("192.0.2.1", "192.0.2.1"),
        ("not a name", "localhost"),
        ("", "localhost"),
    ] {
        let config = Config::default().with_host_name(host);
        assert_eq!(config.node.default_domain(), domain, "{host}");
    }
}

#[test]
fn announcements_are_for_nobody_for_users_or_for_all() {
    for (value, who) in [
        ("false", Announcements::Nobody),
        ("true", Announcements::Users),
        ("\"all\"", Announcements::All),
    ] {
        let text = format!("[services]\nannouncements = {value}\n");
        let config = Config::parse(&text, Path::new("voip.toml")).unwrap();
        assert_eq!(config.services.announcements, who);
        assert!(config.to_string().contains(&text), "{config}");
    }
    for value in ["\"users\"", "1"] {
        let text = format!("[services]\nannouncements = {value}\n");
        let mistakes = Config::parse(&text, Path::new("voip.toml")).unwrap_err();
        let said = mistakes.to_string();
        assert!(said.contains("services.announcements"), "{said}");
        assert!(
            said.contains("write true or false, without quotes"),
            "{said}"
        );
    }
}

#[test]
fn what_names_no_time_zone_goes_by_the_hosts() {
    let parse = |text: &str| {
        let path = Path::new("/etc/voip/voip.toml");
        Config::parse(text, path).unwrap_or_else(|m| panic!("{m}"))
    };
    let named = parse("[numbers]\ntimezone = \"Atlantic/Canary\"\n[voicemail]\n");
    let hosts = parse("[voicemail]\n");
    let zone = |config: Config| config.with_timezone("Europe/Madrid").numbers.timezone;
    assert_eq!(&*zone(named.clone()), "Atlantic/Canary");
    assert_eq!(&*zone(hosts.clone()), "Europe/Madrid");
    assert_eq!(named.without_timezone(), None);
    let known = hosts.with_timezone("Europe/Madrid");
    assert_eq!(known.without_timezone(), None);
    // It is told by its name, and is not there where there is none.
    assert!(known.to_string().contains("timezone = \"Europe/Madrid\"\n"));
    assert!(!parse("").to_string().contains("timezone"));
}

#[test]
fn what_needs_a_time_zone_is_known() {
    let menu = "[[menu]]\nname = \"m\"\ngreeting = \"menu-welcome\"\nthen = \"hangup\"\n";
    let open = format!("{menu}open = \"mon-fri 9:00-14:00\"\nclosed = \"hangup\"\n");
    let route = "[[route]]\nmatch = \"6\"\nto = \"user:1\"\n";
    for (text, wanted) in [
        ("", None),
        (menu, None),
        (&open, Some("the opening hours of menus")),
        (&format!("{open}timezone = \"UTC\"\n"), None),
        (route, None),
        (
            &format!("{route}hours = \"09:00-18:00\"\n"),
            Some("the hours of routes"),
        ),
        (
            &format!("{route}hours = \"09:00-18:00\"\ntimezone = \"UTC\"\n"),
            None,
        ),
        ("[voicemail]\n", Some("the dates of voicemail")),
        ("[recording]\n", None),
        (
            "[recording]\nusers = [\"100\"]\n",
            Some("the names of recordings"),
        ),
        (
            "[recording]\non_demand = [\"100\"]\n",
            Some("the names of recordings"),
        ),
        (
            &format!("{route}record = true\n"),
            Some("the names of recordings"),
        ),
    ] {
        let config = Config::parse(text, Path::new("voip.toml"));
        let config = config.unwrap_or_else(|m| panic!("{text}: {m}"));
        assert_eq!(config.without_timezone(), wanted, "{text}");
        let config = config.with_timezone("UTC");
        assert_eq!(config.without_timezone(), None, "{text}");
    }
}

#[test]
fn canonical_text_means_the_same() {
    let path = Path::new("/etc/voip/voip.toml");
    let config = Config::parse("", path).unwrap();
    assert_eq!(Config::parse(&config.to_string(), path).unwrap(), config);
    let text = include_str!("../../tests/data/config/whole.toml");
    let config = Config::parse(text, path).unwrap();
    assert_eq!(Config::parse(&config.to_string(), path).unwrap(), config);
}

#[test]
fn the_example_of_the_readme_is_in_order() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("### Numbers and routes").unwrap();
    let (_, example) = section.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let config = Config::parse(example, Path::new("voip.toml"));
    let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!((config.routes.len(), config.trunks.len()), (4, 1));
}

#[test]
fn the_menus_of_the_readme_are_in_order() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("### Menus and queues").unwrap();
    let (_, example) = section.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let config = Config::parse(example, Path::new("voip.toml"));
    let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!((config.menus.len(), config.queues.len()), (2, 1));
}

#[test]
fn every_key_is_printed() {
    let text = include_str!("../../tests/data/config/whole.toml");
    let config = Config::parse(text, Path::new("voip.toml")).unwrap();
    let printed = toml_edit::Document::parse(config.to_string()).unwrap();
    for (table, keys) in parse::KEYS {
        let item = table.split('.').fold(printed.as_item(), |i, t| &i[t]);
        let tables = item.as_array_of_tables();
        for key in *keys {
            let mut all = tables.into_iter().flatten();
            let found = item.get(key).is_some() || all.any(|t| t.contains_key(key));
            assert!(found, "{table}.{key}");
        }
    }
}

#[test]
fn blocks_hold_their_addresses() {
    let holds = |net: &str, ip: &str| IpNet::parse(net).unwrap().contains(ip.parse().unwrap());
    assert!(holds("192.0.2.0/24", "192.0.2.255"));
    assert!(!holds("192.0.2.0/24", "192.0.3.0"));
    assert!(holds("192.0.2.0/24", "::ffff:192.0.2.9"));
    assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
    assert!(holds("2001:db8::/32", "2001:db8:ffff::1"));
    assert!(!holds("2001:db8::/32", "2001:db9::1"));
    assert!(!holds("2001:db8::/32", "192.0.2.1"));
    assert!(holds("0.0.0.0/0", "203.0.113.1") && holds("::/0", "2001:db8::1"));
}

#[test]
fn pairs_of_ports() {
    let range = PortRange::parse("20000-20015").unwrap();
    assert_eq!(
        (range.first(), range.last(), range.pairs()),
        (20000, 20015, 8)
    );
    assert_eq!(PortRange::parse("20000-20016").unwrap().pairs(), 8);
    assert_eq!(PortRange::parse("20000-20017").unwrap().pairs(), 9);
}

#[test]
fn advertised_by_family() {
    let text = "[sip]\nadvertise = [\"2001:db8::1\", \"203.0.113.10\"]\n";
    let config = Config::parse(text, Path::new("voip.toml")).unwrap();
    let toward = |ip: &str| config.sip.advertise.toward(ip.parse().unwrap());
    assert_eq!(toward("192.0.2.1"), "203.0.113.10".parse().ok());
    assert_eq!(toward("::ffff:192.0.2.1"), "203.0.113.10".parse().ok());
    assert_eq!(toward("2001:db8::2"), "2001:db8::1".parse().ok());
}

proptest::proptest! {
    /// Whatever the text, there is an answer, and what is accepted prints as what it is.
    #[test]
    fn any_text_has_an_answer(text in r#"(\[{1,2}(node|sip|sip\.tls|rtp|guard|numbers|route|trunk|pool|group|menu|queue)\]{1,2}|[a-z_]{1,9} ?= ?([0-9a-z":./\[\], -]{0,30})|\PC{0,20})(\n(\PC{0,30}|listen = \["[a-z]{3}:[0-9.:\[\]]{1,20}"\]|ports = "[0-9]{1,5}-[0-9]{1,5}")){0,5}"#) {
        let path = Path::new("/etc/voip/voip.toml");
        if let Ok(config) = Config::parse(&text, path) {
            proptest::prop_assert_eq!(Config::parse(&config.to_string(), path), Ok(config));
        }
    }
}

/// The manual page voip.toml(5), read as the entries `table.key` with default and description.
fn manual() -> Vec<(String, Option<String>, String)> {
    let plain = |s: &str| {
        s.replace("\\(dq", "\"")
            .replace("\\&", "")
            .replace("\\ ", " ")
    };
    let mut entries: Vec<(String, Option<String>, String)> = Vec::new();
    let mut table = None;
    for line in include_str!("../man/voip.toml.5").lines() {
        if let Some(name) = line.strip_prefix(".Ss Table ") {
            table = Some(name);
        } else if line.starts_with(".Sh ") {
            table = None;
        } else if let (Some(table), Some(rest)) = (table, line.strip_prefix(".It Ic ")) {
            let (key, default) = match rest.split_once(" No = Li ") {
                Some((key, default)) => (key, Some(plain(default))),
                None => (rest, None),
            };
            entries.push((format!("{table}.{key}"), default, String::new()));
        } else if let (Some(_), Some(entry)) = (table, entries.last_mut()) {
            entry.2.push_str(&plain(line));
            entry.2.push(' ');
        }
    }
    entries
}

#[test]
fn the_manual_page_lists_every_key_and_no_other() {
    let mut listed: Vec<String> = manual().into_iter().map(|(name, ..)| name).collect();
    let mut known: Vec<String> = parse::KEYS
        .iter()
        .flat_map(|(table, keys)| keys.iter().map(move |key| format!("{table}.{key}")))
        .filter(|name| name != "sip.tls")
        .collect();
    listed.sort();
    known.sort();
    assert_eq!(listed, known);
}

#[test]
fn the_manual_page_tells_the_defaults() {
    // One of each kind that there may be several of, with what it must have.
    let one_of_each = "[numbers]\ncountry = \"1\"\nnational_digits = 0\n\
        [[trunk]]\nname = \"t\"\nuri = \"sip:a\"\n\
        [[pool]]\nname = \"p\"\nmembers = [\"sip:a\"]\n\
        [[group]]\nname = \"g\"\nmembers = [\"1\"]\n\
        [[conference]]\nname = \"c\"\n\
        [[menu]]\nname = \"m\"\ngreeting = \"goodbye\"\nthen = \"hangup\"\n\
        [[queue]]\nname = \"q\"\nagents = [\"1\"]\n\
        [[route]]\nmatch = \"1\"\nto = \"user:1\"\n";
    let config = Config::parse(one_of_each, Path::new("voip.toml")).unwrap();
    let config = Config {
        node: Config::default().node,
        ..config
    };
    let printed = toml_edit::Document::parse(config.to_string()).unwrap();
    let mut seen = 0;
    for (name, default, _) in manual() {
        let get = |item: &'_ toml_edit::Item, key: &str| match item.as_array_of_tables() {
            Some(tables) => tables.get(0).and_then(|t| t.get(key).cloned()),
            None => item.get(key).cloned(),
        };
        let value = name
            .split('.')
            .try_fold(printed.as_item().clone(), |i, t| get(&i, t));
        let (Some(value), Some(default)) = (value, default) else {
            continue;
        };
        // The page tells FreeBSD's paths, and the file in `url` as one writes it.
        let value = value.to_string();
        if value.contains('/') && default.contains("/var/") {
            continue;
        }
        let value = value.replace(&format!("{DEFAULT_STATE_DIR}/"), "");
        assert_eq!(value.trim(), default, "{name}");
        seen += 1;
    }
    assert!(seen >= 65, "{seen} defaults");
}

#[test]
fn the_manual_page_tells_ranges_and_words() {
    let mut seen = 0;
    for (name, default, text) in manual() {
        let (table, key) = name.rsplit_once('.').unwrap();
        let number = default.is_some_and(|d| d.parse::<u64>().is_ok());
        let wrong = if number { "-1" } else { "\"nonsense\"" };
        let table = match parse::LISTS.contains(&table) {
            true => format!("[[{table}]]"),
            false => format!("[{table}]"),
        };
        let file = format!("{table}\n{key} = {wrong}\n");
        let Err(mistakes) = Config::parse(&file, Path::new("voip.toml")) else {
            continue;
        };
        let of_key = |m: &&Mistake| m.key.starts_with(&name);
        let mut found = mistakes.0.iter().filter(of_key);
        let Some(remedy) = found.next().map(|m| m.remedy.clone()) else {
            continue;
        };
        if let Some((_, range)) = remedy.split_once("write a number ") {
            let range = range.split_whitespace().take(4).collect::<Vec<_>>();
            let range = range.join(" ");
            assert!(text.contains(&range), "{name}: {range}: {text}");
            seen += 1;
        } else if remedy.contains("\" or \"") || name == "rtp.fastpath" {
            let (_, words) = remedy.split_once("write ").unwrap();
            for word in words.split("\" or \"") {
                let word = word.trim().trim_start_matches('"');
                let word = format!("\"{}\"", word.split('"').next().unwrap_or_default());
                assert!(text.contains(&word), "{name}: {word}: {text}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 50, "{seen} ranges and lists");
}
