//! `voipctl queue`.

use super::access::Access;
use super::args::QueueVerb;
use super::failure::Failure;
use super::output::Output;
use super::table::Table;
use crate::control::{Command, QueueRow, Reply};
use std::fmt::Write;

pub(super) fn run(verb: QueueVerb, access: &Access, output: Output) -> Result<(), Failure> {
    let (command, all) = match verb {
        QueueVerb::List => (Command::Queues { name: None }, true),
        QueueVerb::Show { queue } => (Command::Queues { name: Some(queue) }, false),
        QueueVerb::Login { queue, user } => (
            Command::QueueLogin {
                aor: user,
                queue,
                on: true,
            },
            true,
        ),
        QueueVerb::Logout { queue, user } => (
            Command::QueueLogin {
                aor: user,
                queue,
                on: false,
            },
            true,
        ),
        QueueVerb::Pause { user } => (
            Command::QueuePause {
                aor: user,
                on: true,
            },
            true,
        ),
        QueueVerb::Unpause { user } => (
            Command::QueuePause {
                aor: user,
                on: false,
            },
            true,
        ),
    };
    match access.ask(command)? {
        Reply::Done { message } => output.done(&message),
        Reply::Queues { rows } if output.json => output.rows(&rows),
        Reply::Queues { rows } if all => output.text(&list(&rows)),
        Reply::Queues { rows } => output.text(&rows.iter().map(show).collect::<String>()),
        other => Err(Failure::unexpected(&other)),
    }
}

fn list(rows: &[QueueRow]) -> String {
    let mut table = Table::new(&[
        "QUEUE",
        "STRATEGY",
        "WAITING",
        "LONGEST S",
        "TALKING",
        "AGENTS",
        "FREE",
        "ANSWERED",
        "ABANDONED",
        "OVERFLOWED",
    ]);
    for row in rows {
        let free = row.agents.iter().filter(|agent| agent.state == "free");
        table.row([
            row.name.clone(),
            row.strategy.clone(),
            row.waiting.to_string(),
            row.longest_s.to_string(),
            row.talking.to_string(),
            row.agents.len().to_string(),
            free.count().to_string(),
            row.answered.to_string(),
            row.abandoned.to_string(),
            row.overflowed.to_string(),
        ]);
    }
    table.render("the configuration has no [[queue]]")
}

fn show(row: &QueueRow) -> String {
    let mut text = format!(
        "{}: {} of at most {} waiting, the first for {} s; {} talking\n",
        row.name, row.waiting, row.calls_max, row.longest_s, row.talking
    );
    let _ = writeln!(
        text,
        "answered {}, abandoned {}, overflowed {}; on average waited {} s, talked {} s\n",
        row.answered, row.abandoned, row.overflowed, row.waited_s, row.talked_s
    );
    let mut table = Table::new(&["AGENT", "STATE", "BY", "TAKEN"]);
    for agent in &row.agents {
        let by = if agent.fixed { "file" } else { "login" };
        let taken = agent.taken.to_string();
        table.row([agent.aor.clone(), agent.state.clone(), by.into(), taken]);
    }
    text + &table.render("no agent is logged in")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::AgentRow;

    #[test]
    fn a_queue_is_shown_with_its_agents() {
        let row = QueueRow {
            name: "support".into(),
            strategy: "ring-all".into(),
            waiting: 2,
            calls_max: 50,
            longest_s: 31,
            answered: 7,
            agents: vec![AgentRow {
                aor: "201@example.com".into(),
                state: "free".into(),
                fixed: true,
                taken: 7,
            }],
            ..QueueRow::default()
        };
        let text = show(&row);
        assert!(
            text.starts_with("support: 2 of at most 50 waiting, the first for 31 s"),
            "{text}"
        );
        assert!(text.contains("201@example.com  free   file"), "{text}");
        let text = list(&[row]);
        assert!(text.contains("support  ring-all"), "{text}");
    }
}
