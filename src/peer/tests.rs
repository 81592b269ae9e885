//! Unit tests of peers.
mod machines;
mod pools;
mod sources;
mod tickets;

use crate::config::{self, Algorithm, Config, Identity, NumberFormat, Transfer};

pub(super) fn trunk(name: &str, uri: &str) -> config::Trunk {
    config::Trunk {
        name: name.into(),
        uri: uri.into(),
        outbound_proxy: None,
        username: Some("5700020326".into()),
        auth_username: None,
        password_file: None,
        domain: None,
        register: false,
        expires_s: 3600,
        addresses: Vec::new(),
        certificate_name: None,
        ring_back: None,
        transfer: Transfer::Refer,
        calls_max: 0,
        calls_per_second: 0,
        probe_s: 0,
        numbers: NumberFormat::AsIs,
        identity: Identity::From,
        hide_topology: true,
        add_headers: Vec::new(),
        remove_headers: Vec::new(),
    }
}

pub(super) fn member(uri: &str, weight: u16) -> config::Member {
    config::Member {
        uri: uri.into(),
        weight,
        calls_max: 0,
    }
}

pub(super) fn pool(name: &str, algorithm: Algorithm, members: Vec<config::Member>) -> config::Pool {
    config::Pool {
        name: name.into(),
        algorithm,
        members,
        probe_s: 0,
        hide_topology: false,
        trusted: false,
    }
}

pub(super) fn config(trunks: Vec<config::Trunk>, pools: Vec<config::Pool>) -> Config {
    Config {
        trunks,
        pools,
        ..Config::default()
    }
}
