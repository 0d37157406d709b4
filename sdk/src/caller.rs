//! Who a message comes from, as established by the host.

/// The sender of a message. The host stamps it; nothing inside a message can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller<'a> {
    /// The user of this machine, over loopback.
    Local,
    /// Another node of the pool, by its peer id.
    Member(&'a str),
    /// A running task, by the id of the peer that it works for.
    Task(&'a str),
    /// Another provider of this node, by its id.
    Plugin(&'a str),
    /// A session at the web page.
    Web(&'a str),
}

impl<'a> Caller<'a> {
    /// The number that crosses the ABI.
    pub const fn abi_kind(&self) -> u32 {
        match self {
            Caller::Local => 0,
            Caller::Member(_) => 1,
            Caller::Task(_) => 2,
            Caller::Plugin(_) => 3,
            Caller::Web(_) => 4,
        }
    }

    /// The id that belongs to it; empty for the local user.
    pub const fn id(&self) -> &'a str {
        match self {
            Caller::Local => "",
            Caller::Member(id) | Caller::Task(id) | Caller::Plugin(id) | Caller::Web(id) => id,
        }
    }

    /// Back from the ABI. A number that this version does not know gets the fewest rights: a task's.
    pub fn from_abi(kind: u32, id: &'a str) -> Caller<'a> {
        match kind {
            0 => Caller::Local,
            1 => Caller::Member(id),
            3 => Caller::Plugin(id),
            4 => Caller::Web(id),
            _ => Caller::Task(id),
        }
    }

    /// The word for logs and status replies.
    pub const fn word(&self) -> &'static str {
        match self {
            Caller::Local => "local",
            Caller::Member(_) => "member",
            Caller::Task(_) => "task",
            Caller::Plugin(_) => "plugin",
            Caller::Web(_) => "web",
        }
    }
}

/// The least caller that may send a message.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeastCaller {
    /// Everybody, running tasks included.
    Task = 0,
    /// Any member of the pool, and everybody with more rights.
    Member = 1,
    /// This machine's user, at the command line or the web page, and the node's own providers.
    Local = 2,
    /// Only other providers of this node.
    Plugin = 3,
}

impl LeastCaller {
    /// Back from the ABI. A number that this version does not know admits the fewest: providers.
    pub const fn from_abi(number: u32) -> LeastCaller {
        match number {
            0 => LeastCaller::Task,
            1 => LeastCaller::Member,
            2 => LeastCaller::Local,
            _ => LeastCaller::Plugin,
        }
    }

    /// Whether `caller` may send the message.
    pub const fn admits(self, caller: &Caller<'_>) -> bool {
        let rank = match caller {
            Caller::Task(_) => 0,
            Caller::Member(_) => 1,
            Caller::Local | Caller::Web(_) => 2,
            Caller::Plugin(_) => 3,
        };
        rank >= self as u32
    }

    /// The word for error texts.
    pub const fn word(self) -> &'static str {
        match self {
            LeastCaller::Task => "task",
            LeastCaller::Member => "member",
            LeastCaller::Local => "local",
            LeastCaller::Plugin => "plugin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_survives_the_abi() {
        for caller in [Caller::Local, Caller::Member("m"), Caller::Task("t"), Caller::Plugin("p"), Caller::Web("w")] {
            assert_eq!(Caller::from_abi(caller.abi_kind(), caller.id()), caller);
        }
        assert_eq!(Caller::from_abi(99, "x"), Caller::Task("x"));
    }

    #[test]
    fn the_least_caller_admits_itself_and_more() {
        assert!(LeastCaller::Task.admits(&Caller::Task("")));
        assert!(!LeastCaller::Member.admits(&Caller::Task("")));
        assert!(LeastCaller::Member.admits(&Caller::Member("")));
        assert!(!LeastCaller::Local.admits(&Caller::Member("")));
        assert!(LeastCaller::Local.admits(&Caller::Local));
        assert!(!LeastCaller::Plugin.admits(&Caller::Local));
        assert!(LeastCaller::Plugin.admits(&Caller::Plugin("cpu")));
    }
}
