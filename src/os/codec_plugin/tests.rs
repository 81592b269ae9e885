//! Plugins of all kinds, compiled by the C compiler that the build needs anyway.

use super::*;
use std::process::Command;

/// A codec whose frame is the first sample; `abi`, `size` and `name` may be wrong.
fn source(abi: &str, size: &str, name: &str, encode: &str) -> String {
    format!(
        r#"
#include <stdlib.h>
#include "voip_codec.h"
static void *open_state(void) {{ return calloc(1, 1); }}
int encode(void *e, const int16_t s[80], uint8_t o[10]) {{
    (void)e;
    o[0] = (uint8_t)(s[0] >> 8), o[1] = (uint8_t)s[0];
    return 0;
}}
static int decode(void *d, const uint8_t o[10], int16_t s[80]) {{
    (void)d;
    for (int n = 0; n < 80; n++) s[n] = (int16_t)(o[0] << 8 | o[1]);
    return o[2];
}}
static int conceal(void *d, int16_t s[80]) {{ (void)d; s[0] = 5; return 0; }}
static const struct voip_codec table = {{ {abi}, {size}, {name}, open_state, {encode}, free,
    open_state, decode, conceal, free }};
const struct voip_codec *voip_codec(void) {{ return &table; }}
"#
    )
}

/// Compiles a library, and loads it.
fn loaded(name: &str, source: &str) -> Result<Plugin, Flaw> {
    let folder = std::env::temp_dir().join(format!("voip-plugin-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (text, library) = (folder.join("plugin.c"), folder.join("plugin.so"));
    std::fs::write(&text, source).unwrap();
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/src/media/codec");
    let flags = [
        "-std=c99", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", header, "-o",
    ];
    let made = Command::new("cc")
        .args(flags)
        .args([&library, &text])
        .status();
    assert!(made.unwrap().success(), "{source}");
    let loaded = load(&library);
    std::fs::remove_dir_all(&folder).unwrap();
    loaded
}

const ABI_RIGHT: &str = "VOIP_CODEC_ABI";
const SIZE_RIGHT: &str = "sizeof(struct voip_codec)";
const NAME_RIGHT: &str = "\"G729\"";

#[test]
fn a_plugin_codes() {
    let plugin = loaded("good", &source(ABI_RIGHT, SIZE_RIGHT, NAME_RIGHT, "encode")).unwrap();
    let codec = crate::media::codec::Codec::G729;
    let mut encoder = crate::media::codec::Encoder::wished(codec, Default::default(), Some(plugin));
    let mut decoder = crate::media::codec::Decoder::by(codec, Some(plugin));
    let (mut payload, mut heard) = ([0; 20], [0; 160]);
    assert_eq!(encoder.encode(&[-1234; 160], &mut payload), 20);
    assert_eq!(decoder.decode(&payload, &mut heard), 160);
    assert_eq!(heard, [-1234; 160]);
    payload[12] = 1;
    assert_eq!(
        decoder.decode(&payload, &mut heard),
        80,
        "it refuses the second frame"
    );
    assert!(decoder.conceal(&mut heard[..80]));
    assert_eq!(heard[0], 5);
}

#[test]
fn what_is_no_plugin_is_refused_and_said() {
    let refused = |name: &str, source: &str| loaded(name, source).unwrap_err();
    let version = refused("version", &source("2", SIZE_RIGHT, NAME_RIGHT, "encode"));
    assert_eq!(version, Flaw::Version(2));
    let small = refused("small", &source(ABI_RIGHT, "16", NAME_RIGHT, "encode"));
    assert_eq!(small, Flaw::Incomplete);
    let lacks = refused("lacks", &source(ABI_RIGHT, SIZE_RIGHT, NAME_RIGHT, "0"));
    assert_eq!(lacks, Flaw::Incomplete);
    let nameless = refused("nameless", &source(ABI_RIGHT, SIZE_RIGHT, "0", "encode"));
    assert_eq!(nameless, Flaw::Incomplete);
    let other = refused("other", &source(ABI_RIGHT, SIZE_RIGHT, "\"AMR\"", "encode"));
    assert_eq!(other, Flaw::Other("AMR".into()));
    assert_eq!(
        refused("none", "int another(void); int another(void) { return 1; }"),
        Flaw::NoPlugin
    );
    let failing = source(ABI_RIGHT, SIZE_RIGHT, NAME_RIGHT, "encode");
    let failing = failing.replace(
        "return 0;\n}\nstatic int decode",
        "return 1;\n}\nstatic int decode",
    );
    assert_eq!(refused("failing", &failing), Flaw::Useless);
    let null = "const void *voip_codec(void); const void *voip_codec(void) { return 0; }";
    assert_eq!(refused("null", null), Flaw::Incomplete);
}

#[test]
fn a_missing_library_is_said_with_its_remedy() {
    let path = Path::new("/nonexistent/g729.so");
    let mut config = Config::default();
    config.services.g729_plugin = Some(path.into());
    for told in [rooms(&config).unwrap_err(), check(&config).unwrap_err()] {
        assert_eq!(told.code, EX_CONFIG);
        assert!(
            told.reason
                .starts_with("[services] g729_plugin: /nonexistent/g729.so cannot")
        );
        assert!(
            told.reason.contains("readable by the user"),
            "{}",
            told.reason
        );
    }
    assert!(rooms(&Config::default()).unwrap().plugin().is_none());
}
