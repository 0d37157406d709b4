//! What to do when a node has nobody who answers a message, in the words of the command line.

use potluck_sdk::ProviderError;

/// Replaces in an error what a node says of a message that nobody answers there: people have typed a command, and do not
/// know which messages it sends.
pub(super) fn in_words(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    match error.downcast_ref::<ProviderError>() {
        Some(refusal) => text.replace(&refusal.message, &refusal_in_words(refusal)),
        None => text,
    }
}

/// As [`in_words`], of the node's error alone.
pub(super) fn refusal_in_words(refusal: &ProviderError) -> String {
    let advice = (refusal.code == ProviderError::NO_PROVIDER).then(|| advice(&refusal.message)).flatten();
    advice.unwrap_or_else(|| refusal.message.clone())
}

fn advice(refusal: &str) -> Option<String> {
    let words = refusal.split(|character: char| !character.is_ascii_uppercase() && character != '_');
    let (plugin, what) = words.filter(|word| word.contains('_')).find_map(plugin)?;
    Some(format!(
        "the node has no plugin for {what}; name [plugins.{plugin}] in its plugins.toml, and see `potluck plugins` for \
         what it has"
    ))
}

/// The plugin that answers a type of message that commands send, and what it is there for.
fn plugin(message_type: &str) -> Option<(&'static str, &'static str)> {
    Some(match message_type {
        "CPU_TASK" | "BATCH_TASK" | "CANCEL_TASK" => ("cpu", "tasks"),
        "GET_SCHEDULER" | "SET_SCHEDULER" | "COMPARE_SCHEDULERS" => ("cpu", "the scheduling of tasks"),
        "SANDBOX_IMAGES" | "SANDBOX_INSTALL" | "SANDBOX_REMOVE" => ("cpu", "sandboxes"),
        "SET_MEM" | "GET_MEM" | "DELETE_MEM" | "LIST_MEM" => ("memory", "shared values"),
        "PUT_FILE" | "PUT_FILE_CHUNK" | "GET_FILE" | "GET_FILE_CHUNK" | "DELETE_FILE" | "LIST_FILES" | "STAT_FILE"
        | "FETCH_FILE" => ("disk", "files"),
        "UPLOAD_OWNED_FILE"
        | "DOWNLOAD_OWNED_FILE"
        | "LIST_OWNED_FILES"
        | "DELETE_OWNED_FILE"
        | "GET_OWNED_FILE"
        | "AUDIT_OWNED_FILE"
        | "REPAIR_OWNED_FILES" => ("owned-files", "encrypted files on other peers"),
        "FIND_FILE" | "BIND_OWNER" => ("tracker", "the register of a pool"),
        "CREATE_PROCESS" | "TERMINATE_PROCESS" | "SIGNAL_PROCESS" | "PROCESS_TREE" | "PROCESS_INFO"
        | "LIST_PROCESSES" | "WAIT_PROCESS" | "SET_PRIORITY" | "CREATE_GROUP" | "KILL_GROUP" | "SIGNAL_GROUP"
        | "LIST_GROUPS" => ("process", "processes"),
        "REGISTER_RESOURCE"
        | "UNREGISTER_RESOURCE"
        | "REGISTER_PROCESS"
        | "UNREGISTER_PROCESS"
        | "REQUEST_RESOURCE"
        | "RELEASE_RESOURCE"
        | "LIST_RESOURCES" => ("deadlock", "resources"),
        "DEADLOCK_CHECK" | "RESOLVE_DEADLOCK" => ("deadlock", "deadlocks"),
        "ALLOCATE_MEMORY" | "DEALLOCATE_MEMORY" | "READ_BLOCK" | "WRITE_BLOCK" | "SET_ALLOCATOR" | "MEMORY_MAP" => {
            ("memory-manager", "an arena of memory")
        }
        "CREATE_QUEUE" | "DELETE_QUEUE" | "LIST_QUEUES" | "SEND_MESSAGE" | "RECEIVE_MESSAGE" | "PEEK_MESSAGE"
        | "JOIN_QUEUE" | "LEAVE_QUEUE" => ("ipc", "queues"),
        "CREATE_SEMAPHORE" | "DELETE_SEMAPHORE" | "LIST_SEMAPHORES" | "SEMAPHORE_WAIT" | "SEMAPHORE_SIGNAL" => {
            ("ipc", "semaphores")
        }
        "TASK_HISTORY" | "HISTORY_CLEAR" => ("history", "the history of tasks"),
        "QUOTA_CHECK" => ("quota", "quotas"),
        "CACHE_STATISTICS" | "CACHE_CLEAR" => ("cache", "a cache of results"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_plugin_that_is_missing_is_named_and_no_message() {
        let refusal = |text: &str| ProviderError::new(ProviderError::NO_PROVIDER, text);
        let said = "no provider answers MEMORY_MAP on this node; see `potluck plugins` for what it answers";
        let text = in_words(&refusal(said).into());
        assert!(text.starts_with("the node has no plugin for an arena of memory; "), "{text}");
        assert!(text.contains("[plugins.memory-manager]") && !text.contains("MEMORY_MAP"), "{text}");
        let text = in_words(&Err::<(), _>(refusal(said)).context("the arena").unwrap_err());
        assert!(text.starts_with("the arena: the node has no plugin for an arena"), "{text}");
        assert!(in_words(&refusal("ipc does not answer PEEK_MESSAGE").into()).contains("[plugins.ipc]"));
    }

    #[test]
    fn what_is_not_known_here_stays_as_it_was_said() {
        let text = "no provider answers NO_SUCH on this node";
        assert_eq!(in_words(&ProviderError::new(ProviderError::NO_PROVIDER, text).into()), text);
        assert_eq!(in_words(&ProviderError::new("not_found", "no LIST_FILES").into()), "no LIST_FILES");
        assert_eq!(in_words(&anyhow::anyhow!("LIST_FILES")), "LIST_FILES");
        assert_eq!(in_words(&ProviderError::new("internal", "").into()), "");
    }
}
