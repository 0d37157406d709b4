//! `potluck events`.

use super::session::{Session, parse};
use crate::cli::EventsArgs;
use crate::output::{self, units};
use potluck_sdk::message::node::{Event, Events, WatchEvents};
use potluck_sdk::message::to_json;
use std::process::ExitCode;
use tokio::signal::ctrl_c;

/// Prints events as they happen, one a line. Ctrl-C is the way to end it, and no failure.
pub(super) async fn run(session: &Session, args: EventsArgs) -> anyhow::Result<ExitCode> {
    let mut request = WatchEvents { topics: args.topics, after: None };
    let mut interrupt = std::pin::pin!(ctrl_c());
    loop {
        let message = to_json(&request);
        let reply = tokio::select! {
            biased;
            Ok(()) = &mut interrupt => return Ok(ExitCode::SUCCESS),
            reply = session.client.request(&message, &[]) => reply?,
        };
        let events: Events = parse(&reply)?;
        if events.lost > 0 {
            if session.json {
                output::print_line(&format!(r#"{{"lost":{}}}"#, events.lost))?;
            }
            output::note(&format!("{} events were lost: they came faster than they were fetched", events.lost));
        }
        let mut lines = String::new();
        for event in &events.events {
            lines.push_str(&if session.json { output::one_line(&to_json(event)).into_owned() } else { line(event) });
            lines.push('\n');
        }
        output::print(&lines)?;
        request.after = Some(events.next);
    }
}

fn line(event: &Event) -> String {
    let body = output::one_line(event.body.get());
    output::printable(&format!("{}  {}  {body}", units::utc_time(event.unix_milliseconds), event.topic)).into_owned()
}
