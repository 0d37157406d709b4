//! One function a message.

use crate::Quota;
use crate::error::Refusal;
use crate::ledger::Demand;
use crate::stock;
use potluck_sdk::message::quota::{QuotaCheck, QuotaReport, QuotaTake, QuotaTaken, works_for};
use potluck_sdk::message::{STATUS_OK, to_json};
use potluck_sdk::{Caller, ProviderError, Reply, Request};
use std::sync::Arc;

/// Largest amount: JSON's whole numbers end here, and sums of a few stay within those of the file.
const AMOUNT_MAX: u64 = 1 << 53;

pub(crate) fn answer(quota: &Quota, request: Request<'_>, reply: Reply<'_>) {
    match request.message_type {
        "QUOTA_TAKE" => take(quota, request, reply),
        "QUOTA_RULES" => {
            let rules = quota.ledger.lock().rules();
            reply.send(&rules);
        }
        "QUOTA_CHECK" => check(quota, request, reply),
        other => {
            let text = format!("quota does not answer {other}");
            reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
        }
    }
}

fn take(quota: &Quota, request: Request<'_>, reply: Reply<'_>) {
    let message: QuotaTake<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if [Some(message.amount), message.used, message.used_total].into_iter().flatten().any(|number| number > AMOUNT_MAX)
    {
        return reply.error(&ProviderError::invalid(format!("QUOTA_TAKE: amounts are at most {AMOUNT_MAX}")));
    }
    let caller = match &*message.caller {
        "member" => Caller::Member(&message.caller_id),
        "task" => Caller::Task(&message.caller_id),
        "local" | "web" | "plugin" => Caller::Local,
        other => return reply.error(&ProviderError::invalid(format!("QUOTA_TAKE: {other:?} is no kind of caller"))),
    };
    let demand = Demand {
        resource: &message.resource,
        caller: works_for(&caller, &quota.own_id),
        amount: message.amount,
        used: message.used,
        used_total: message.used_total,
    };
    let now = (quota.clock)();
    let outcome = quota.ledger.lock().take(&demand, now);
    let grant = match outcome {
        Ok(grant) => grant,
        Err(refusal) => return reply.error(&refusal.into()),
    };
    let taken = QuotaTaken {
        status: STATUS_OK,
        resource: message.resource.clone(),
        used: grant.used,
        remaining: grant.remaining,
    };
    match grant.record {
        None => reply.send(&taken),
        Some(record) => {
            let (reply, json) = (reply.later(), to_json(&taken));
            let written = move |outcome: Result<(), String>| match outcome {
                Ok(()) => reply.send_json(json.into_bytes()),
                // It stays counted until the node starts again: better too much than too little.
                Err(error) => reply.error(&Refusal::NotWritten(error).into()),
            };
            quota.commits.add(record, now, Box::new(written));
        }
    }
}

fn check(quota: &Quota, request: Request<'_>, reply: Reply<'_>) {
    if let Err(error) = request.parse::<QuotaCheck>() {
        return reply.error(&error);
    }
    let only = match request.caller {
        Caller::Member(_) | Caller::Task(_) => Some(works_for(&request.caller, &quota.own_id).to_owned()),
        Caller::Local | Caller::Web(_) | Caller::Plugin(_) => None,
    };
    let (reply, ledger, clock) = (reply.later(), Arc::clone(&quota.ledger), Arc::clone(&quota.clock));
    stock::count(quota.host, &quota.ledger, move || {
        let now = clock();
        let report = {
            let mut ledger = ledger.lock();
            let (quota, callers) = (ledger.status(now), ledger.report(only.as_deref(), now));
            QuotaReport { status: STATUS_OK.to_owned(), quota, callers }
        };
        reply.send(&report);
    });
}
