//! `voipctl e1`: spans of the kernel module e1shim(4), through /dev/e1/ctl. No voipd takes part.

mod args;
mod refusal;
mod rows;

#[cfg(test)]
mod tests;

pub(super) use args::E1Verb;

use super::failure::{Failure, exit};
use super::output::Output;
use crate::os::e1::abi;
use crate::os::e1::control::{Control, Ctl};
use crate::os::e1::mode::{Backend, ClockSource, Fault};
use args::{ConfigArgs, CreateVerb, TdmoeArgs};
use refusal::{Asked, refused};
use rows::{ConfigRow, CountersRow, MadeRow, Said, SpanRow};
use std::io::{self, ErrorKind};

pub(super) fn run(verb: E1Verb, output: Output) -> Result<(), Failure> {
    check(&verb)?;
    let mut control = Control(open(&verb)?);
    match verb {
        E1Verb::Watch { span, count } => watch(&mut control, span, count, |said| {
            output.while_read(if output.json { &said.json } else { &said.text })
        }),
        verb => {
            let said = carry_out(verb, &mut control)?;
            output.text(if output.json { &said.json } else { &said.text })
        }
    }
}

#[cfg(target_os = "freebsd")]
fn open(verb: &E1Verb) -> Result<crate::os::freebsd::e1::Device, Failure> {
    use crate::os::freebsd::e1::{Device, Purpose, Waits};
    let purpose = match verb {
        E1Verb::Create(_) | E1Verb::Destroy { .. } => Purpose::Make,
        _ => Purpose::Look,
    };
    // Only reading events waits.
    Device::control(purpose, Waits::Yes).map_err(|error| refusal::not_opened(&error))
}

#[cfg(not(target_os = "freebsd"))]
fn open(_: &E1Verb) -> Result<Box<dyn Ctl>, Failure> {
    Err(Failure::new(
        exit::UNAVAILABLE,
        "E1 spans are made by the kernel module e1shim, which is FreeBSD's: run this on the \
        FreeBSD host, where kldload e1shim (of the package voip-e1-kmod) loads it",
    ))
}

/// What can be told wrong without asking the module.
fn check(verb: &E1Verb) -> Result<(), Failure> {
    let wrong = match verb {
        E1Verb::Create(CreateVerb::Pair { span, peer }) if span.is_some() && span == peer => {
            "the two spans of a pair have different numbers"
        }
        E1Verb::Inject { fault, amount, .. }
            if *amount == abi::INJECT_FOREVER && !fault.lasts() =>
        {
            "\"forever\" is for los, ais, rai, lfa and lmfa; the others take a number of errors"
        }
        _ => return Ok(()),
    };
    Err(Failure::new(exit::USAGE, wrong))
}

/// Every verb that ends by itself.
fn carry_out<C: Ctl>(verb: E1Verb, control: &mut Control<C>) -> Result<Said, Failure> {
    check(&verb)?;
    match verb {
        E1Verb::List => rows::list(&list(control)?),
        E1Verb::Create(verb) => create(verb, control),
        E1Verb::Destroy { span } => {
            let done = control.destroy(span);
            done.map_err(|e| refused(&e, Asked::Destroy(span)))?;
            Said::done(format!("span {span} is gone; of a pair, both are"))
        }
        E1Verb::Show { span } => {
            let row = look(control, span).map_err(|e| refused(&e, Asked::Look(span)))?;
            rows::show(&row)
        }
        E1Verb::Config { span, change } => config(control, span, change),
        E1Verb::Counters { span, clear } => {
            let counters = control.counters(span, clear);
            let counters = counters.map_err(|e| refused(&e, Asked::Look(span)))?;
            rows::counters(&CountersRow::new(span, &counters))
        }
        E1Verb::Loop { span, kind } => {
            let done = control.set_loop(span, kind);
            done.map_err(|e| refused(&e, Asked::Loop(span)))?;
            Said::done(format!("loop of span {span}: {}", kind.word()))
        }
        E1Verb::Inject {
            span,
            fault,
            amount,
        } => inject(control, span, fault, amount),
        E1Verb::Watch { .. } => Err(Failure::new(exit::SOFTWARE, "watch does not end")),
    }
}

fn look<C: Ctl>(control: &mut Control<C>, span: u16) -> io::Result<SpanRow> {
    let status = control.status(span)?;
    let config = control.config(span)?;
    Ok(SpanRow::new(span, &status, &config))
}

fn list<C: Ctl>(control: &mut Control<C>) -> Result<Vec<SpanRow>, Failure> {
    let list = control.list().map_err(|e| refused(&e, Asked::List))?;
    let mut rows = Vec::new();
    for span in (0..64).filter(|n| list.present >> n & 1 != 0) {
        match look(control, span) {
            Ok(row) => rows.push(row),
            // Removed meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            Err(error) => return Err(refused(&error, Asked::Look(span))),
        }
    }
    Ok(rows)
}

fn create<C: Ctl>(verb: CreateVerb, control: &mut Control<C>) -> Result<Said, Failure> {
    let mut wanted = abi::Create {
        peer: abi::SPAN_ANY,
        ..abi::Create::default()
    };
    let (backend, span, peer) = match verb {
        CreateVerb::Pair { span, peer } => (Backend::Pair, span, peer),
        CreateVerb::Line { span } => (Backend::Line, span, None),
        CreateVerb::Tdmoe(args) => {
            tdmoe(&args, &mut wanted);
            (Backend::Tdmoe, args.span, None)
        }
    };
    wanted.backend = backend.number();
    wanted.peer = peer.unwrap_or(abi::SPAN_ANY);
    let asked = Asked::Create {
        span,
        peer,
        tdmoe: backend == Backend::Tdmoe,
    };
    let made = control.create(span.unwrap_or(abi::SPAN_ANY), wanted);
    let made = made.map_err(|e| refused(&e, asked))?;
    rows::made(&MadeRow {
        span: made.head.span,
        peer: Some(made.peer).filter(|peer| *peer != abi::SPAN_ANY),
        backend: backend.word().into(),
    })
}

fn tdmoe(args: &TdmoeArgs, wanted: &mut abi::Create) {
    // The name was found to be shorter.
    for (place, byte) in wanted.port.iter_mut().zip(args.port.bytes()) {
        *place = byte;
    }
    wanted.mac = args.mac;
    wanted.subaddress = args.subaddress;
    wanted.channels = args.channels;
    wanted.clock = ClockSource::number(args.clock);
}

fn config<C: Ctl>(
    control: &mut Control<C>,
    span: u16,
    change: ConfigArgs,
) -> Result<Said, Failure> {
    let config = control.config(span);
    let mut config = config.map_err(|e| refused(&e, Asked::Look(span)))?;
    if change != ConfigArgs::default() {
        if let Some(framing) = change.framing {
            config.framing = framing.number();
        }
        config.rx_depth = change.rx_depth.unwrap_or(config.rx_depth);
        config.tx_depth = change.tx_depth.unwrap_or(config.tx_depth);
        config.idle = change.idle.unwrap_or(config.idle);
        config.sa = change.sa.unwrap_or(config.sa);
        let done = control.set_config(span, config);
        done.map_err(|e| refused(&e, Asked::Config(span)))?;
    }
    rows::config(&ConfigRow::from(&config))
}

fn inject<C: Ctl>(
    control: &mut Control<C>,
    span: u16,
    fault: Fault,
    amount: u32,
) -> Result<Said, Failure> {
    let done = control.inject(span, fault, amount);
    done.map_err(|e| refused(&e, Asked::Inject(span, fault)))?;
    let how = match (amount, fault.lasts()) {
        (0, _) => "ended".into(),
        (abi::INJECT_FOREVER, true) => "until it is ended with amount 0".into(),
        (ms, true) => format!("for {ms} ms"),
        (count, false) => format!("{count} times"),
    };
    Said::done(format!("span {span}: {} {how}", fault.word()))
}

/// Says each event, until `say` answers that nobody listens, or `count` were said.
fn watch<C: Ctl>(
    control: &mut Control<C>,
    span: Option<u16>,
    count: Option<u64>,
    mut say: impl FnMut(&Said) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut left = count.unwrap_or(u64::MAX);
    loop {
        let events = match control.events() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            events => events.map_err(|e| refused(&e, Asked::Watch))?,
        };
        if events.is_empty() {
            return Ok(());
        }
        for event in &events {
            if span.is_some_and(|wanted| wanted != event.span) {
                continue;
            }
            left -= 1;
            if !say(&rows::event(event)?)? || left == 0 {
                return Ok(());
            }
        }
    }
}
