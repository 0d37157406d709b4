//! `potluck queue`.

use super::Node;
use crate::cli::QueueCommand;
use crate::commands::pages::Pages;
use crate::commands::session::parse;
use crate::commands::{UsageError, values};
use crate::output::table::Table;
use crate::output::{self, printable, python_text, units};
use potluck_sdk::message::ipc::{
    CreateQueue, DeleteQueue, JoinQueue, LeaveQueue, ListPage, ListQueues, MessageReceived, MessageSent, PeekMessage,
    QueueCreated, QueueDeleted, QueueList, QueueMembership, ReceiveMessage, SendMessage,
};
use potluck_sdk::{ProviderError, Response};
use std::process::ExitCode;

/// Queues of one answer of the node.
const PAGE: usize = 1000;
/// How long the node lets a sender wait when the message does not say.
const SEND_TIMEOUT_SECONDS: f64 = 5.0;
/// The code of the error that says that there is no message.
const NO_MESSAGE: &str = "no_message";

/// Carries out what is asked of a queue.
pub(super) async fn run(node: &Node, command: QueueCommand) -> anyhow::Result<ExitCode> {
    match command {
        QueueCommand::Create { queue, max_size, exist_ok } => {
            let reply = node.ask(&CreateQueue { queue_id: Some(queue.into()), max_size, exist_ok }).await?;
            node.print(&reply, || {
                let done: QueueCreated<'_> = parse(&reply)?;
                let verb = if done.created { "created" } else { "is there" };
                Ok(format!("Queue {} {verb}; it holds {} messages at most", done.queue_id, done.max_size))
            })?;
        }
        QueueCommand::Send { queue, data, name, receiver, message_type, timeout } => {
            let data = values::json_or_text(&data).map_err(UsageError)?;
            let message = SendMessage {
                queue_id: Some(queue.into()),
                sender: Some(name.name.into()),
                receiver: receiver.map(Into::into),
                message_type: message_type.map(Into::into),
                data: Some(&data),
                timeout,
            };
            let reply = node.wait(&message, Some(timeout.unwrap_or(SEND_TIMEOUT_SECONDS))).await?;
            node.print(&reply, || Ok(format!("Sent as {}", parse::<MessageSent<'_>>(&reply)?.message_id)))?;
        }
        QueueCommand::Receive { queue, name, timeout } => {
            let message = ReceiveMessage {
                queue_id: Some(queue.into()),
                receiver: Some(name.name.into()),
                timeout: Some(timeout),
            };
            return received(node, node.wait(&message, Some(timeout)).await);
        }
        QueueCommand::Peek { queue, name } => {
            let message = PeekMessage { queue_id: Some(queue.into()), receiver: Some(name.name.into()) };
            return received(node, node.ask(&message).await);
        }
        QueueCommand::Join { queue, name } => {
            let message = JoinQueue { queue_id: Some(queue.into()), receiver: Some(name.name.into()) };
            membership(node, &node.ask(&message).await?, "receives broadcasts of")?;
        }
        QueueCommand::Leave { queue, name } => {
            let message = LeaveQueue { queue_id: Some(queue.into()), receiver: Some(name.name.into()) };
            membership(node, &node.ask(&message).await?, "receives no broadcasts of")?;
        }
        QueueCommand::List { prefix } => list(node, &prefix).await?,
        QueueCommand::Delete { queue } => {
            let reply = node.ask(&DeleteQueue { queue_id: Some(queue.into()) }).await?;
            node.print(&reply, || {
                let done: QueueDeleted<'_> = parse(&reply)?;
                Ok(format!(
                    "Queue {} deleted, with {} messages and {} waiting",
                    done.queue_id, done.messages, done.waiters
                ))
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn membership(node: &Node, reply: &Response, verb: &str) -> anyhow::Result<()> {
    node.print(reply, || {
        let done: QueueMembership<'_> = parse(reply)?;
        Ok(format!("{} {verb} {}", done.receiver, done.queue_id))
    })
}

/// Prints a message; that there is none is no error of the command, but its exit code tells.
fn received(node: &Node, reply: anyhow::Result<Response>) -> anyhow::Result<ExitCode> {
    let reply = match reply {
        Err(error) if error.downcast_ref::<ProviderError>().is_some_and(|error| error.code == NO_MESSAGE) => {
            if node.json() {
                return Err(error);
            }
            output::print_line("No message")?;
            return Ok(ExitCode::FAILURE);
        }
        reply => reply?,
    };
    if node.json() {
        output::print_json(&reply.json)?;
    } else {
        let message: MessageReceived<'_> = parse(&reply)?;
        let text = python_text::str_text(message.data.get());
        let line = format!("{} from {} ({}): {text}", message.message_id, message.sender, message.message_type);
        output::print_line(&printable(&line))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(node: &Node, prefix: &str) -> anyhow::Result<()> {
    let mut table =
        Table::new(&["QUEUE", "MESSAGES", "AT MOST", "SIZE", "SENT", "RECEIVERS", "WAIT TO RECEIVE", "WAIT TO SEND"]);
    let mut page = ListPage { prefix: prefix.into(), after: None, limit: Some(PAGE) };
    let mut pages = Pages::new("queues", node.json());
    let mut listed = 0;
    loop {
        let reply = node.ask(&ListQueues { page: page.clone() }).await?;
        let list: QueueList = parse(&reply)?;
        pages.add(&reply.json);
        for queue in &list.queues {
            table.row([
                queue.queue_id.clone(),
                queue.messages.to_string(),
                queue.max_size.to_string(),
                units::bytes(queue.bytes),
                queue.sent.to_string(),
                queue.receivers.to_string(),
                queue.waiting_receivers.to_string(),
                queue.waiting_senders.to_string(),
            ]);
        }
        listed += list.queues.len();
        page.after = list.next.filter(|_| !list.queues.is_empty() && !pages.is_full()).map(Into::into);
        if page.after.is_none() {
            break;
        }
    }
    match (node.json(), listed) {
        (true, _) => {}
        (false, 0) => output::print_line("No queues")?,
        (false, _) => {
            table.align_right(1..8);
            table.print("")?;
        }
    }
    pages.finish()?;
    Ok(())
}
