//! One function a message: decode, call the service, make the reply.

use crate::address::Address;
use crate::directory::{Claim, Peer};
use crate::error::TrackerError;
use crate::files::handler as files;
use crate::service::{Service, Watch};
use potluck_sdk::message::tracker::{
    CpuResponse, Done, Load, PeerRevoked, PeerStatus, REVOKED_TOPIC, Register, Registered, RequestCpu, Unregister,
    UpdateLoad, WatchPeers,
};
use potluck_sdk::{Caller, PeerId, ProviderError, Reply, Request, Status};
use std::sync::Arc;
use std::time::SystemTime;

/// Peers that STATUS lists; it counts them all.
const LISTED_PEERS_MAX: usize = 1000;

/// Answers one message.
pub(crate) fn answer(service: &Arc<Service>, request: Request<'_>, reply: Reply<'_>) {
    match request.message_type {
        "UPDATE_LOAD" => reply.result(update_load(service, request)),
        "REQUEST_CPU" => reply.result(request_cpu(service, request)),
        "WATCH_PEERS" => watch_peers(service, request, reply),
        "REGISTER" => reply.result(register(service, request)),
        "UNREGISTER" => reply.result(unregister(service, request)),
        "FIND_FILE" => reply.result(files::find(service, request)),
        "REGISTER_FILE" => reply.result(files::register(service, request)),
        "UNREGISTER_FILE" => reply.result(files::unregister(service, request)),
        other => {
            let text = format!("the tracker does not answer {other}");
            reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
        }
    }
}

fn register(service: &Arc<Service>, request: Request<'_>) -> Result<Registered, ProviderError> {
    let message: Register = request.parse()?;
    let claim = address(&request, message.ip.as_deref(), message.port, "registration")?;
    let (peer_id, load) = (identity(request.caller, message.peer_id)?, checked(message.load)?);
    let peer_count = service.with_state(|state, now, events| {
        state.counters.registers += 1;
        state.directory.report(claim, peer_id, load, now, events)?;
        Ok::<usize, TrackerError>(state.directory.len())
    })?;
    Ok(Registered { status: "REGISTERED".to_owned(), peer_count })
}

fn update_load(service: &Arc<Service>, request: Request<'_>) -> Result<Done, ProviderError> {
    let message: UpdateLoad = request.parse()?;
    let claim = address(&request, message.ip.as_deref(), message.port, "load update")?;
    let (peer_id, load) = (identity(request.caller, message.peer_id)?, checked(message.load)?);
    service.with_state(|state, now, events| {
        state.counters.heartbeats += 1;
        state.directory.report(claim, peer_id, load, now, events)
    })?;
    Ok(Done { status: "LOAD_UPDATED".to_owned() })
}

fn unregister(service: &Arc<Service>, request: Request<'_>) -> Result<Done, ProviderError> {
    let message: Unregister = request.parse()?;
    let claim = address(&request, message.ip.as_deref(), message.port, "unregistration")?;
    service.with_state(|state, _, events| {
        state.counters.unregisters += 1;
        identity(request.caller, state.directory.id_at(&claim.address))?;
        state.directory.leave(&claim.address, events)
    })?;
    Ok(Done { status: "UNREGISTERED".to_owned() })
}

fn request_cpu(service: &Arc<Service>, request: Request<'_>) -> Result<CpuResponse, ProviderError> {
    let RequestCpu {} = request.parse()?;
    let chosen = service.with_state(|state, _, _| {
        state.counters.cpu_requests += 1;
        state.directory.choose()
    });
    Ok(chosen?)
}

fn watch_peers(service: &Arc<Service>, request: Request<'_>, reply: Reply<'_>) {
    let message: WatchPeers = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    match service.watch(&message) {
        Err(error) => reply.error(&error.into()),
        Ok(Watch::Answer(json)) => reply.send_json(json.to_vec()),
        Ok(Watch::Wait(id)) => {
            let reply = reply.later();
            let watched = Arc::clone(service);
            // Before the reply is put where a change can find and answer it.
            reply.on_cancel(move || watched.remove_watcher(id));
            service.add_watcher(id, reply, message.version);
        }
    }
}

/// The host tells of somebody who is a member of the pool no more.
pub(crate) fn event(service: &Arc<Service>, topic: &str, json: &str) {
    match serde_json::from_str::<PeerRevoked>(json) {
        Ok(revoked) if topic == REVOKED_TOPIC => {
            service.with_state(|state, _, events| state.directory.expel(revoked.peer_id, events));
        }
        _ => {}
    }
}

/// The members that a tracker adds to the node's STATUS reply.
pub(crate) fn status(service: &Arc<Service>) -> Status {
    let (peer_count, mut peers, counters) = service.with_state(|state, _, _| {
        let listed = state.directory.peers_at(0..state.directory.len().min(LISTED_PEERS_MAX));
        (state.directory.len(), listed.into_iter().cloned().collect::<Vec<Peer>>(), Service::counters(state))
    });
    // In the order of registration, as far as the list goes.
    peers.sort_by_key(|peer| peer.registered_at);
    let peers: Vec<PeerStatus> = peers.into_iter().map(shown).collect();
    Status::default().with("peer_count", peer_count).with("peers", peers).with("tracker", counters)
}

fn shown(peer: Peer) -> PeerStatus {
    PeerStatus {
        entry: peer.entry,
        last_update: local_time(peer.last_update),
        registered_at: local_time(peer.registered_at),
    }
}

/// ISO 8601 with microseconds and no zone, as the original system writes it.
fn local_time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string())
        .unwrap_or_default()
}

/// Where the sender of a message says that it can be reached; where it has sent it from, when it does not say.
pub(crate) fn address(
    request: &Request<'_>,
    ip: Option<&str>,
    port: Option<u16>,
    purpose: &'static str,
) -> Result<Claim, TrackerError> {
    let port = port.filter(|port| *port != 0).ok_or(TrackerError::PortRequired(purpose))?;
    let address = Address::new(ip.filter(|ip| !ip.is_empty()).or(Some(request.source_ip)), port)?;
    // What comes from this machine is believed: it may be this user's node alone.
    let is_from_there = request.source_ip.is_empty() || request.source_ip == address.ip;
    Ok(Claim { address, is_from_there })
}

/// The id of the peer that a message speaks of. What the connection proves comes before what the message says.
fn identity(caller: Caller<'_>, claimed: Option<PeerId>) -> Result<Option<PeerId>, TrackerError> {
    let Caller::Member(proven) = caller else { return Ok(claimed) };
    match proven.parse::<PeerId>() {
        Ok(proven) if claimed.is_none_or(|claimed| claimed == proven) => Ok(Some(proven)),
        _ => Err(TrackerError::NotYourself),
    }
}

fn checked(load: Load) -> Result<Load, TrackerError> {
    for (name, number) in [("cpu_load", load.cpu_load), ("backlog_seconds", load.backlog_seconds)] {
        if !number.is_finite() || number < 0.0 {
            return Err(TrackerError::Load(name));
        }
    }
    Ok(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds_and_no_zone() {
        let text = local_time(SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(1_700_000_000_000_042));
        assert_eq!((text.len(), &text[19..]), ("2023-11-14T22:13:20.000042".len(), ".000042"));
        assert_eq!(local_time(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1))[19..], *".000000");
    }

    #[test]
    fn a_member_speaks_for_itself() {
        let (own, other) = (PeerId::from_hash([1; 16]), PeerId::from_hash([2; 16]));
        let text = own.to_string();
        assert_eq!(identity(Caller::Member(&text), None), Ok(Some(own)));
        assert_eq!(identity(Caller::Member(&text), Some(own)), Ok(Some(own)));
        assert_eq!(identity(Caller::Member(&text), Some(other)), Err(TrackerError::NotYourself));
        assert_eq!(identity(Caller::Local, Some(other)), Ok(Some(other)));
    }
}
