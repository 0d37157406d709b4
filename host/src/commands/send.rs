//! `potluck send`.

use super::session::Session;
use super::{UsageError, guest};
use crate::cli::SendArgs;
use crate::output::{self, raw_json, units};
use anyhow::Context;
use potluck_sdk::message::RawValue;
use std::process::ExitCode;

/// Sends a message and prints the reply.
pub(super) async fn run(session: &Session, args: SendArgs) -> anyhow::Result<ExitCode> {
    let message = compose(&args)?;
    let attachment = args.attachment.as_deref().map(guest::read_bytes).transpose()?.unwrap_or_default();
    // No limit on the wait: a message may be one that is answered when something happens.
    let reply = session.client.request(&message, &attachment).await?;
    if !session.json && output::stdout_is_terminal() {
        output::print_line(&raw_json::indent(&reply.json))?;
    } else {
        output::print_json(&reply.json)?;
    }
    match &args.save {
        Some(path) => {
            std::fs::write(path, &reply.attachment)
                .with_context(|| format!("cannot write the attachment to {}", path.display()))?;
            output::note(&format!("{} saved to {}", units::bytes(reply.attachment.len() as u64), path.display()));
        }
        None if !reply.attachment.is_empty() => {
            let size = units::bytes(reply.attachment.len() as u64);
            output::note(&format!("The reply has an attachment of {size}; --save FILE keeps it."));
        }
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The message's text. The values stay as they were typed, digit for digit.
fn compose(args: &SendArgs) -> Result<String, UsageError> {
    let mut names = vec!["type", "id", "attachment"];
    if args.to.is_some() {
        names.push("to");
    }
    let mut json = String::from("{");
    let mut push = |name: &str, value: &RawValue| {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&serde_json::Value::from(name).to_string());
        json.push(':');
        json.push_str(value.get());
    };
    let text = |text: &str| super::values::text_value(text).map_err(UsageError);
    push("type", &text(&args.message_type)?);
    if let Some(peer) = &args.to {
        push("to", &text(peer)?);
    }
    for member in &args.members {
        if names.contains(&member.name.as_str()) {
            return Err(UsageError(format!(
                "the field {:?} is set already; give each field once, and leave type, id and attachment to this command",
                member.name
            )));
        }
        push(&member.name, &member.value);
        names.push(&member.name);
    }
    json.push('}');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::values::member;

    fn args(members: &[&str], to: Option<&str>) -> SendArgs {
        SendArgs {
            message_type: "SET_MEM".to_owned(),
            members: members.iter().map(|text| member(text).unwrap()).collect(),
            to: to.map(str::to_owned),
            attachment: None,
            save: None,
        }
    }

    #[test]
    fn fields_stay_in_order_and_as_typed() {
        let message = compose(&args(&["key=a", "value=[1.00, 1e2]", "q\"=x"], Some("127.0.0.1:9001"))).unwrap();
        assert_eq!(message, r#"{"type":"SET_MEM","to":"127.0.0.1:9001","key":"a","value":[1.00, 1e2],"q\"":"x"}"#);
        assert_eq!(compose(&args(&[], None)).unwrap(), r#"{"type":"SET_MEM"}"#);
        assert_eq!(compose(&args(&["to=\"p\""], None)).unwrap(), r#"{"type":"SET_MEM","to":"p"}"#);
    }

    #[test]
    fn a_field_is_given_once() {
        for (members, to) in
            [(vec!["a=1", "a=2"], None), (vec!["type=X"], None), (vec!["id=1"], None), (vec!["to=p"], Some("q"))]
        {
            assert!(compose(&args(&members, to)).is_err(), "{members:?}");
        }
    }
}
