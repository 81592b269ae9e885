//! The canonical text of a configuration: every key, in the order of the tables, with absolute
//! paths where the file had relative ones. Parsing it gives the same configuration.

use super::print_dialing::dialing;
use super::{
    Blocklist, Config, Digest, Durability, FastpathMode, Fraud, Keepalive, Limits, Locale, Relay,
    Sip, Timers, Voicemail, ng,
};
use std::fmt::{self, Display, Formatter};

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        writeln!(f, "[node]")?;
        if !node.domains.is_empty() {
            list(f, "domains", &node.domains)?;
        }
        list(f, "aliases", &node.aliases)?;
        let locale = match node.locale {
            Locale::En => "en",
            Locale::Es => "es",
        };
        text(f, "locale", &locale)?;
        text(f, "state_dir", &node.state_dir.display())?;
        plain(f, "workers", node.workers)?;
        sip(f, &self.sip)?;
        self.fmt_media(f)?;
        limits(f, &self.limits)?;
        timers(f, &self.timers)?;
        writeln!(f, "\n[admin]")?;
        text(f, "socket", &self.admin.socket.display())?;
        text(f, "pid_file", &self.admin.pid_file.display())?;
        text(f, "log", &self.admin.log.as_str())?;
        if let Some(web) = &self.admin.web {
            text(f, "web", &web.listen)?;
            text(f, "token_file", &web.token_file.display())?;
        }
        voicemail(f, &self.voicemail)?;
        dialing(f, self)
    }
}

impl Config {
    fn fmt_media(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n[rtp]")?;
        text(f, "ports", &self.rtp.ports)?;
        let relay = match self.rtp.relay {
            Relay::Always => "always",
            Relay::Nat => "nat",
            Relay::Never => "never",
        };
        text(f, "relay", &relay)?;
        text(f, "fastpath", &self.rtp.fastpath.to_string())?;
        let mode = match self.rtp.fastpath_mode {
            FastpathMode::Poll => "poll",
            FastpathMode::Busy => "busy",
        };
        text(f, "fastpath_mode", &mode)?;
        plain(f, "timeout_s", self.rtp.timeout_s)?;
        if let Some(ng) = &self.rtp.ng {
            ng::print(f, ng)?;
        }

        writeln!(f, "\n[store]")?;
        text(f, "url", &format!("sqlite:{}", self.store.file.display()))?;
        let durability = match self.store.durability {
            Durability::Process => "process",
            Durability::Power => "power",
        };
        text(f, "durability", &durability)?;
        plain(f, "cdr_days", self.store.cdr_days)?;
        plain(f, "cdr_rows_max", self.store.cdr_rows_max)?;

        writeln!(f, "\n[spool]")?;
        text(f, "directory", &self.spool.directory.display())?;

        writeln!(f, "\n[guard]")?;
        plain(f, "slow_after", self.guard.slow_after)?;
        plain(f, "ban_after", self.guard.ban_after)?;
        plain(f, "window_s", self.guard.window_s)?;
        plain(f, "ban_s", self.guard.ban_s)?;
        list(f, "exempt", &self.guard.exempt)?;
        plain(f, "messages_per_second", self.guard.messages_per_second)?;
        plain(f, "burst", self.guard.burst)?;
        match &self.guard.blocklist {
            Blocklist::Auto => text(f, "blocklist", &"auto"),
            Blocklist::Off => text(f, "blocklist", &"off"),
            Blocklist::Socket(path) => text(f, "blocklist", &path.display()),
        }?;
        fraud(f, &self.fraud)
    }
}

fn voicemail(f: &mut Formatter<'_>, mail: &Voicemail) -> fmt::Result {
    writeln!(f, "\n[voicemail]")?;
    plain(f, "enabled", mail.enabled)?;
    plain(f, "ring_s", mail.ring_s)?;
    plain(f, "message_min_s", mail.message_min_s)?;
    plain(f, "message_max_s", mail.message_max_s)?;
    plain(f, "silence_s", mail.silence_s)?;
    plain(f, "messages_max", mail.messages_max)?;
    plain(f, "ask_pin", mail.ask_pin)?;
    plain(f, "pin_tries", mail.pin_tries)?;
    plain(f, "lock_s", mail.lock_s)?;
    if let Some(from) = &mail.email_from {
        text(f, "email_from", from)?;
    }
    let Some(smtp) = &mail.smtp else {
        return Ok(());
    };
    text(f, "smtp", smtp)?;
    if let Some(user) = &smtp.user {
        text(f, "smtp_user", user)?;
    }
    match &smtp.password_file {
        Some(file) => text(f, "smtp_password_file", &file.display()),
        None => Ok(()),
    }
}

fn fraud(f: &mut Formatter<'_>, fraud: &Fraud) -> fmt::Result {
    writeln!(f, "\n[fraud]")?;
    plain(f, "calls_max", fraud.calls_max)?;
    plain(f, "calls_per_minute", fraud.calls_per_minute)?;
    plain(f, "minutes_per_day", fraud.minutes_per_day)?;
    plain(f, "costly_minutes_per_day", fraud.costly_minutes_per_day)?;
    let prefixes = fraud.prefix_minutes_per_day.iter();
    let prefixes: Vec<_> = prefixes.map(|(p, n)| format!("+{p}={n}")).collect();
    list(f, "prefix_minutes_per_day", &prefixes)?;
    plain(f, "trunk_calls_per_minute", fraud.trunk_calls_per_minute)?;
    plain(f, "trunk_minutes_per_day", fraud.trunk_minutes_per_day)?;
    let costly = fraud.trunk_costly_minutes_per_day;
    plain(f, "trunk_costly_minutes_per_day", costly)?;
    plain(f, "block_s", fraud.block_s)?;
    list(f, "exempt", &fraud.exempt)
}

fn sip(f: &mut Formatter<'_>, sip: &Sip) -> fmt::Result {
    writeln!(f, "\n[sip]")?;
    list(f, "listen", &sip.listen)?;
    let (v4, v6) = (sip.advertise.v4, sip.advertise.v6);
    let advertise = v4.map(|ip| ip.to_string());
    let advertise: Vec<_> = advertise
        .into_iter()
        .chain(v6.map(|ip| ip.to_string()))
        .collect();
    list(f, "advertise", &advertise)?;
    list(f, "trusted", &sip.trusted)?;
    plain(f, "guests", sip.guests)?;
    let keepalive = match sip.keepalive {
        Keepalive::Options => "options",
        Keepalive::Crlf => "crlf",
        Keepalive::Off => "off",
    };
    text(f, "keepalive", &keepalive)?;
    plain(f, "keepalive_s", sip.keepalive_s)?;
    let digest = match sip.digest {
        Digest::Md5 => "md5",
        Digest::Sha256 => "sha-256",
        Digest::Both => "both",
    };
    text(f, "digest", &digest)?;
    plain(f, "udp_bytes_max", sip.udp_bytes_max)?;
    list(f, "resolvers", &sip.resolvers)?;
    list(f, "service_route", &sip.service_route)?;
    // An empty list would be refused: it could be read as nobody.
    if !sip.origins.is_empty() {
        list(f, "origins", &sip.origins)?;
    }
    if let Some(tls) = &sip.tls {
        writeln!(f, "\n[sip.tls]")?;
        text(f, "certificate", &tls.certificate.display())?;
        text(f, "key", &tls.key.display())?;
        if let Some(roots) = &tls.roots {
            text(f, "roots", &roots.display())?;
        }
    }
    Ok(())
}

fn limits(f: &mut Formatter<'_>, l: &Limits) -> fmt::Result {
    writeln!(f, "\n[limits]")?;
    plain(f, "transactions_max", l.transactions_max)?;
    plain(f, "calls_max", l.calls_max)?;
    plain(f, "bindings_max", l.bindings_max)?;
    plain(f, "contacts_per_user_max", l.contacts_per_user_max)?;
    plain(f, "branches_max", l.branches_max)?;
    plain(f, "connections_max", l.connections_max)?;
    plain(
        f,
        "connections_per_source_max",
        l.connections_per_source_max,
    )?;
    plain(f, "trace_messages_max", l.trace_messages_max)?;
    plain(f, "expires_min_s", l.expires_min_s)?;
    plain(f, "expires_default_s", l.expires_default_s)?;
    plain(f, "expires_max_s", l.expires_max_s)
}

fn timers(f: &mut Formatter<'_>, t: &Timers) -> fmt::Result {
    writeln!(f, "\n[timers]")?;
    plain(f, "t1_ms", t.t1.as_millis())?;
    plain(f, "t2_ms", t.t2.as_millis())?;
    plain(f, "t4_ms", t.t4.as_millis())?;
    plain(f, "timer_c_s", t.timer_c.as_secs())?;
    plain(f, "serial_fork_s", t.serial_fork.as_secs())?;
    plain(f, "no_reply_s", t.no_reply.as_secs())?;
    plain(f, "call_max_s", t.call_max.as_secs())?;
    plain(f, "connection_idle_s", t.connection_idle.as_secs())?;
    plain(f, "half_message_s", t.half_message.as_secs())
}

pub(super) fn plain(f: &mut Formatter<'_>, key: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "{key} = {value}")
}

pub(super) fn text(f: &mut Formatter<'_>, key: &str, value: &dyn Display) -> fmt::Result {
    writeln!(f, "{key} = {}", quoted(&value.to_string()))
}

pub(super) fn list(f: &mut Formatter<'_>, key: &str, values: &[impl Display]) -> fmt::Result {
    let values: Vec<String> = values.iter().map(|v| quoted(&v.to_string())).collect();
    writeln!(f, "{key} = [{}]", values.join(", "))
}

pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
