//! `potluck pool members`, `revoke` and `readmit`.

use super::super::session::{Session, parse};
use super::{done, moment};
use crate::output;
use crate::output::table::{Table, state_cell, text_cell};
use comfy_table::{Cell, Color};
use potluck_sdk::message::pool::{MemberEntry, PoolDone, PoolMemberList, PoolMembers, PoolReadmit, PoolRevoke};
use std::process::ExitCode;

/// Characters of a fingerprint that are shown beside an id; `--json` has all.
const FINGERPRINT_CHARACTERS: usize = 20;

pub(super) async fn list(session: &Session) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&PoolMembers {}).await?;
    let list: PoolMemberList = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else if list.members.is_empty() {
        output::print_line("No members")?;
    } else {
        let mut table = Table::new(&["PEER", "NAME", "STATE", "CONNECTED", "JOINED", "FINGERPRINT"]);
        for member in &list.members {
            table.cells(row(member));
        }
        table.print("")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(member: &MemberEntry) -> [Cell; 6] {
    let state = match member.revoked_unix_seconds {
        None => state_cell("member", Some(Color::Green)),
        Some(_) => state_cell("revoked", Some(Color::Red)),
    };
    [
        text_cell(&member.peer_id.short()),
        text_cell(if member.name.is_empty() { "-" } else { &member.name }),
        state,
        text_cell(if member.connected { "yes" } else { "no" }),
        text_cell(&moment(member.joined_unix_seconds)),
        text_cell(&output::shorten(&member.fingerprint, FINGERPRINT_CHARACTERS)),
    ]
}

pub(super) async fn revoke(session: &Session, peer: String) -> anyhow::Result<ExitCode> {
    let named = peer.clone();
    done(session, &PoolRevoke { peer }, |done| format!("Revoked: {}", member(done, &named))).await
}

pub(super) async fn readmit(session: &Session, peer: String) -> anyhow::Result<ExitCode> {
    let named = peer.clone();
    done(session, &PoolReadmit { peer }, |done| format!("Readmitted: {}", member(done, &named))).await
}

/// The member's id, since a name or the beginning of an id can be mistaken.
fn member(done: &PoolDone, named: &str) -> String {
    match done.peer_id {
        Some(id) if id.to_string() != named => format!("{id} ({named})"),
        Some(id) => id.to_string(),
        None => named.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::PeerId;

    #[test]
    fn a_member_is_shown_by_its_id_whatever_it_was_called() {
        let id = PeerId::from_hash([7; 16]);
        let done = |peer_id| PoolDone { status: "REVOKED".into(), pool_id: id, peer_id, note: None };
        assert_eq!(member(&done(Some(id)), "lab-3"), format!("{id} (lab-3)"));
        assert_eq!(member(&done(Some(id)), &id.to_string()), id.to_string());
        assert_eq!(member(&done(None), "lab-3"), "lab-3");
    }
}
