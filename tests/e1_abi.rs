//! Holds `os::e1::abi` against kmod/e1shim/e1shim.h: a C program that lists every structure, field
//! and constant of the header is made, compiled and run, and what it prints must be what Rust has,
//! no more and no less.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use voip::os::e1::abi::{CONSTANTS, STRUCTURES};

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kmod/e1shim/e1shim.h")
}

/// C without its comments.
fn bare(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(begin) = rest.find("/*") {
        out.push_str(&rest[..begin]);
        out.push(' ');
        let end = rest[begin..].find("*/").expect("a comment ends") + begin + 2;
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The names of what `#define`s without arguments stand for something.
fn constants(source: &str) -> Vec<String> {
    let joined = source.replace("\\\n", " ");
    let defines = joined
        .lines()
        .filter_map(|line| line.trim().strip_prefix("#define"));
    let mut names = Vec::new();
    for define in defines {
        let define = define.trim();
        let name: String = define
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let rest = &define[name.len()..];
        if !rest.starts_with('(') && !rest.trim().is_empty() {
            names.push(name);
        }
    }
    names
}

/// Each structure's name and the names of its fields.
fn structures(source: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(begin) = rest.find("struct ") {
        rest = &rest[begin + "struct ".len()..];
        let Some((name, after)) = rest.split_once('{') else {
            break;
        };
        let name = name.trim();
        if name.is_empty() || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            continue;
        }
        let (body, after) = after.split_once('}').expect("a structure ends");
        let fields = body.split(';').map(str::trim).filter(|f| !f.is_empty());
        let fields = fields.map(|declaration| {
            let declarator = declaration.split('[').next().unwrap_or("");
            assert!(
                !declaration.contains([',', '*', ':']),
                "{name}: one plain field a declaration: {declaration}"
            );
            declarator.split_whitespace().last().unwrap().to_string()
        });
        found.push((name.to_string(), fields.collect()));
        rest = after;
    }
    found
}

/// A program that prints a line `what value` for each.
fn program(source: &str) -> String {
    let mut c = String::from(
        "#include <stddef.h>\n#include <stdio.h>\n#include \"e1shim.h\"\nint main(void) {\n",
    );
    let mut print = |what: &str, value: &str| {
        let _ = writeln!(
            c,
            "\tprintf(\"%s %llu\\n\", \"{what}\", (unsigned long long)({value}));"
        );
    };
    for name in constants(source) {
        print(&name, &name);
    }
    for (name, fields) in structures(source) {
        print(&name, &format!("sizeof(struct {name})"));
        for (place, field) in fields.iter().enumerate() {
            let whole = format!("{name}.{field}");
            print(&format!("{whole} place"), &place.to_string());
            print(
                &format!("{whole} offset"),
                &format!("offsetof(struct {name}, {field})"),
            );
            let size = format!("sizeof(((struct {name} *)0)->{field})");
            print(&format!("{whole} size"), &size);
        }
    }
    c.push_str("\treturn (0);\n}\n");
    c
}

fn said_by_c(source: &str, include: &Path) -> BTreeMap<String, u64> {
    let dir = std::env::temp_dir().join(format!("voip-e1-abi-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (text, binary) = (dir.join("abi.c"), dir.join("abi"));
    std::fs::write(&text, program(source)).unwrap();
    let compiled = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(include)
        .arg("-o")
        .args([&binary, &text])
        .output()
        .expect("a C compiler, as the README asks for");
    let errors = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{errors}");
    let output = Command::new(&binary).output().unwrap();
    let _ = std::fs::remove_dir_all(&dir);
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().map(|line| {
        let (what, value) = line.rsplit_once(' ').unwrap();
        (what.to_string(), value.parse().unwrap())
    });
    pairs.collect()
}

fn said_by_rust() -> BTreeMap<String, u64> {
    let mut said: BTreeMap<String, u64> = BTreeMap::new();
    for (name, value) in CONSTANTS {
        assert_eq!(said.insert(name.to_string(), *value), None);
    }
    for structure in STRUCTURES {
        let name = structure.name;
        said.insert(name.into(), structure.size as u64);
        for (place, field) in structure.fields.iter().enumerate() {
            let whole = format!("{name}.{}", field.name.trim_start_matches("r#"));
            said.insert(format!("{whole} place"), place as u64);
            said.insert(format!("{whole} offset"), field.offset as u64);
            said.insert(format!("{whole} size"), field.size as u64);
        }
    }
    said
}

#[test]
fn rust_and_c_mean_the_same() {
    let source = bare(&std::fs::read_to_string(header()).unwrap());
    let c = said_by_c(&source, header().parent().unwrap());
    let rust = said_by_rust();
    // Nothing but structures ends like this: none was overlooked.
    assert_eq!(source.matches("};").count(), structures(&source).len());
    for (what, value) in &c {
        assert_eq!(rust.get(what), Some(value), "{what}: Rust has another");
    }
    for what in rust.keys() {
        assert!(c.contains_key(what), "{what}: not in e1shim.h");
    }
    assert_eq!(STRUCTURES.len(), 11);
    assert_eq!(c.len(), rust.len());
}

/// What is added to the header is seen.
#[test]
fn an_addition_is_found() {
    let source = bare(&std::fs::read_to_string(header()).unwrap());
    let rust = said_by_rust();
    let missing = |changed: &str| {
        let known: Vec<String> = constants(changed)
            .into_iter()
            .chain(structures(changed).into_iter().flat_map(|(name, fields)| {
                let fields = fields.into_iter().map(move |f| format!("{name}.{f} size"));
                fields.collect::<Vec<_>>()
            }))
            .filter(|what| !rust.contains_key(what))
            .collect();
        known
    };
    assert_eq!(missing(&source), Vec::<String>::new());
    let field = source.replacen("module_version;", "module_version;\n\tuint8_t more[4];", 1);
    assert_eq!(missing(&field), ["e1_list.more size"]);
    let constant = source.replacen(
        "#define E1_TIMESLOTS",
        "#define E1_MORE 1U\n#define E1_TIMESLOTS",
        1,
    );
    assert_eq!(missing(&constant), ["E1_MORE"]);
    let structure = source.replacen(
        "struct e1_loop {",
        "struct e1_x { int a; };\nstruct e1_loop {",
        1,
    );
    assert_eq!(missing(&structure), ["e1_x.a size"]);
}
