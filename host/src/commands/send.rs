//! `potluck send`.

use super::session::Session;
use super::{UsageError, guest};
use crate::cli::SendArgs;
use crate::output::raw_json::{Members, string};
use crate::output::{self, raw_json, units};
use anyhow::Context;
use potluck_sdk::message::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
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
    let whole = args.message_type.trim_start().starts_with('{').then(|| whole(&args.message_type)).transpose()?;
    let message_type = match &whole {
        Some((message_type, _)) => message_type,
        None => &args.message_type,
    };
    if message_type.is_empty() || message_type.contains(['"', '\\']) || message_type.contains(char::is_control) {
        return Err(UsageError(format!(
            "{message_type:?} is no type of a message; write the type first, such as STATUS"
        )));
    }
    let mut names = HashSet::from(["type", "id", "attachment"]);
    if args.to.is_some() {
        names.insert("to");
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
    push("type", &text(message_type)?);
    if let Some(peer) = &args.to {
        push("to", &text(peer)?);
    }
    let of_whole = whole.iter().flat_map(|(_, members)| members).map(|(name, value)| (name.as_ref(), *value));
    for (name, value) in of_whole.chain(args.members.iter().map(|member| (member.name.as_str(), &*member.value))) {
        if !names.insert(name) {
            return Err(UsageError(format!(
                "the field {name:?} is set already; give each field once, and leave type, id and attachment to this command"
            )));
        }
        push(name, value);
    }
    json.push('}');
    Ok(json)
}

/// A message that was given as JSON: its type, and the rest of it.
type Whole<'a> = (String, Vec<(Cow<'a, str>, &'a RawValue)>);

fn whole(json: &str) -> Result<Whole<'_>, UsageError> {
    let mistake = |what: &str| {
        UsageError(format!(
            "{what}; write the type and then the fields, such as SET_MEM key=a value=5, or a JSON object with a `type`"
        ))
    };
    let Members(mut members) =
        serde_json::from_str(json).map_err(|error| mistake(&format!("the message is no JSON ({error})")))?;
    let index = members.iter().position(|(name, _)| name == "type");
    let (_, value) = members.remove(index.ok_or_else(|| mistake("the message has no `type`"))?);
    let message_type = string(value.get()).ok_or_else(|| mistake("the `type` of the message is no text"))?;
    Ok((message_type, members))
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
    fn a_whole_message_is_sent_as_it_is() {
        let whole = |json: &str, members: &[&str], to: Option<&str>| {
            compose(&SendArgs { message_type: json.to_owned(), ..args(members, to) }).map_err(|error| error.to_string())
        };
        let json = r#" {"key": "a", "value": [1.00], "type": "SET_MEM"}"#;
        assert_eq!(whole(json, &[], None).unwrap(), r#"{"type":"SET_MEM","key":"a","value":[1.00]}"#);
        let more = whole(r#"{"type":"GET_MEM"}"#, &["key=a"], Some("p")).unwrap();
        assert_eq!(more, r#"{"type":"GET_MEM","to":"p","key":"a"}"#);
        for (json, mistake) in [
            (r#"{"key":"a"}"#, "has no `type`"),
            (r#"{"type":5}"#, "is no text"),
            (r#"{"type":"PING""#, "is no JSON"),
            (r#"{"type":"PING","id":1}"#, "\"id\" is set already"),
            (r#"{"type":"PING","type":"PONG"}"#, "\"type\" is set already"),
            (r#"{"type":"PING","a":1,"a":2}"#, "\"a\" is set already"),
            (r#"{"type":"a\"b"}"#, "write the type first"),
            (r#""PING""#, "write the type first"),
            ("", "write the type first"),
        ] {
            assert!(whole(json, &[], None).is_err_and(|error| error.contains(mistake)), "{json}: {mistake}");
        }
        assert!(whole(r#"{"type":"PING","to":"p"}"#, &[], Some("q")).is_err());
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
