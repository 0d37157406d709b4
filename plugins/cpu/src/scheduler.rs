//! The rules of scheduling: who is next, who gives way to whom, and why. The pool of workers and the exact simulation both
//! act on these and have none of their own.
//!
//! A process in the queue has a [`Ticket`], and each algorithm is an order of tickets that does not change while they
//! wait: shortest first by what is still expected, priority with ageing by `priority - arrival / ageing` (all age alike,
//! so who is ahead stays ahead). Ties go to the smaller sequence number. What changes is the ticket, and only when its
//! process comes back to the queue: see [`Algorithm::put_back`].

mod queue;
mod reasons;

pub(crate) use queue::ReadyQueue;

use potluck_sdk::message::scheduler::SchedulerChoice;
use std::str::FromStr;
use std::time::Duration;

/// Time that a process may run under Round Robin while others wait, when nothing else is said.
pub(crate) const QUANTUM_DEFAULT: Duration = Duration::from_millis(50);
/// The order, when nothing is said.
pub(crate) const ALGORITHM_DEFAULT: Algorithm = Algorithm::Priority { preemptive: false, ageing: None };
/// Stopping a worker process takes 3 to 6 ms, so shorter quanta would be spent on switching.
pub(crate) const QUANTUM_MIN: Duration = Duration::from_millis(5);
/// Longer than any task that one waits for at a screen.
pub(crate) const QUANTUM_MAX: Duration = Duration::from_secs(60);
/// No quantum longer than this is told from this one: whatever fits in it is served in one turn.
const QUANTUM_READ_MAX: Duration = Duration::from_secs(1_000_000);
/// Bounds of the ageing, so that products with any priority fit.
const AGEING_SECONDS: std::ops::RangeInclusive<f64> = 0.001..=1e6;
/// The names that there are, as a refusal lists them.
pub(crate) const AVAILABLE: &str = "FCFS, SJF, SRTF, PRIORITY, PRIORITY_PREEMPTIVE, RR, ROUND_ROBIN";

/// The order of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// First come, first served.
    Fcfs,
    /// The shortest expected first.
    Sjf {
        /// A shorter one stops a longer one that runs (shortest remaining time first).
        preemptive: bool,
    },
    /// The highest priority first.
    Priority {
        /// A higher one stops a lower one that runs.
        preemptive: bool,
        /// The time of waiting that counts as much as one step of priority; none: waiting does not count.
        ageing: Option<Duration>,
    },
    /// In turns: whoever has run for the quantum while others wait goes to the end of the queue.
    RoundRobin {
        /// How long a turn is.
        quantum: Duration,
    },
}

/// What may be said beside the name of an algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) quantum: Option<Duration>,
    pub(crate) preemptive: Option<bool>,
    pub(crate) ageing_seconds: Option<f64>,
}

impl Options {
    /// Options as a message has them.
    pub(crate) fn read(
        quantum_ms: Option<f64>,
        preemptive: Option<bool>,
        ageing_seconds: Option<f64>,
    ) -> Result<Options, String> {
        let quantum = quantum_ms.map(|millis| match micros(millis / 1e3) {
            // Less than a microsecond is no time.
            0 => Err(format!("`quantum_ms` must be above 0, such as {}", QUANTUM_DEFAULT.as_millis())),
            micros => Ok(Duration::from_micros(micros).min(QUANTUM_READ_MAX)),
        });
        Ok(Options { quantum: quantum.transpose()?, preemptive, ageing_seconds })
    }
}

impl Algorithm {
    /// The name on the wire, without its options.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Algorithm::Fcfs => "FCFS",
            Algorithm::Sjf { .. } => "SJF",
            Algorithm::Priority { .. } => "PRIORITY",
            Algorithm::RoundRobin { .. } => "RR",
        }
    }

    /// The name that tells preemptive varieties apart; it can be parsed again. Statistics are kept under this name.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Algorithm::Sjf { preemptive: true } => "SRTF",
            Algorithm::Priority { preemptive: true, .. } => "PRIORITY_PREEMPTIVE",
            _ => self.name(),
        }
    }

    /// An algorithm by its name and options. An option that it does not have is refused, so that nobody believes it to be
    /// in force.
    pub(crate) fn chosen(name: &str, options: Options) -> Result<Algorithm, String> {
        let algorithm: Algorithm = name.parse()?;
        let surplus = match algorithm {
            Algorithm::RoundRobin { .. } => None,
            _ => options.quantum.map(|_| ("quantum_ms", "RR")),
        };
        let surplus = surplus.or(match algorithm {
            Algorithm::Priority { .. } => None,
            _ => options.ageing_seconds.map(|_| ("ageing_seconds", "PRIORITY")),
        });
        // Round Robin is preemptive in its own way; to say so does no harm.
        let surplus = surplus.or(match (algorithm, options.preemptive) {
            (Algorithm::Fcfs, Some(true)) => Some(("preemptive", "SJF and PRIORITY")),
            _ => None,
        });
        if let Some((option, owner)) = surplus {
            return Err(format!("{} has no `{option}`, which is for {owner}; leave it out", algorithm.name()));
        }
        Ok(match algorithm {
            Algorithm::Fcfs => Algorithm::Fcfs,
            Algorithm::Sjf { preemptive } => Algorithm::Sjf { preemptive: options.preemptive.unwrap_or(preemptive) },
            Algorithm::Priority { preemptive, .. } => Algorithm::Priority {
                preemptive: options.preemptive.unwrap_or(preemptive),
                ageing: options.ageing_seconds.map(ageing_of).transpose()?,
            },
            Algorithm::RoundRobin { quantum } => Algorithm::RoundRobin { quantum: options.quantum.unwrap_or(quantum) },
        })
    }

    /// The algorithm and its options as messages have them.
    pub(crate) fn choice(self) -> SchedulerChoice {
        let mut choice = SchedulerChoice { algorithm: self.name().to_owned(), ..SchedulerChoice::default() };
        match self {
            Algorithm::Fcfs => {}
            Algorithm::Sjf { preemptive } => choice.preemptive = Some(preemptive),
            Algorithm::Priority { preemptive, ageing } => {
                choice.preemptive = Some(preemptive);
                choice.ageing_seconds = ageing.map(|step| step.as_secs_f64());
            }
            Algorithm::RoundRobin { quantum } => choice.quantum_ms = Some(quantum.as_micros() as f64 / 1e3),
        }
        choice
    }

    /// Refuses what processes cannot follow, though it can be simulated.
    pub(crate) fn check_real(self) -> Result<Algorithm, String> {
        match self {
            Algorithm::RoundRobin { quantum } if quantum < QUANTUM_MIN || quantum > QUANTUM_MAX => Err(format!(
                "a quantum of {} ms is not possible with processes; choose {} to {} ms",
                quantum.as_secs_f64() * 1e3,
                QUANTUM_MIN.as_millis(),
                QUANTUM_MAX.as_millis()
            )),
            _ => Ok(self),
        }
    }

    /// How long a process may run while others wait, if that is bounded. When it is over and nobody waits, another one
    /// begins at once; when somebody does, the process is put back as [`Return::QuantumOver`] *behind* those that came at
    /// that very instant.
    pub(crate) const fn quantum(self) -> Option<Duration> {
        match self {
            Algorithm::RoundRobin { quantum } => Some(quantum),
            _ => None,
        }
    }

    /// Whether one that runs may have to give way when another one arrives.
    pub(crate) const fn preempts_on_arrival(self) -> bool {
        matches!(self, Algorithm::Sjf { preemptive: true } | Algorithm::Priority { preemptive: true, .. })
    }

    /// The place of a ticket in the order: the smallest is next.
    pub(crate) fn rank(self, ticket: &Ticket) -> Rank {
        (self.urgency(ticket), ticket.sequence)
    }

    /// Whether one that has come to the queue takes the processor from one that runs, and why. `running` must say what
    /// that one still needs *now*: see [`Ticket::having_run`]. Among equals the one that runs goes on.
    pub(crate) fn preempts(self, newcomer: &Ticket, running: &Ticket) -> Option<String> {
        let is_ahead = self.preempts_on_arrival() && self.urgency(newcomer) < self.urgency(running);
        is_ahead.then(|| self.preemption_reason(newcomer, running))
    }

    /// Of those that run, the one that gives way to the newcomer, and why: the one that is last in the order.
    pub(crate) fn victim<K>(
        self,
        newcomer: &Ticket,
        running: impl Iterator<Item = (K, Ticket)>,
    ) -> Option<(K, String)> {
        if !self.preempts_on_arrival() {
            return None;
        }
        let (key, last) = running.max_by_key(|(_, ticket)| self.rank(ticket))?;
        self.preempts(newcomer, &last).map(|why| (key, why))
    }

    /// The ticket with which a process comes back to the queue. `having_run` says what it still needs; `sequence` is the
    /// next free number.
    pub(crate) fn put_back(self, having_run: Ticket, why: Return, sequence: u64, now_micros: u64) -> Ticket {
        match why {
            // It did not give up its place.
            Return::Preempted => having_run,
            Return::QuantumOver => Ticket { sequence, ..having_run },
            // The time that it waited for something else is not time that it waited for the processor.
            Return::Woken => Ticket { sequence, arrival_micros: now_micros, ..having_run },
        }
    }

    /// Smaller is more urgent. 128 bits, so that no priority and no time overflow.
    fn urgency(self, ticket: &Ticket) -> i128 {
        match self {
            Algorithm::Fcfs | Algorithm::RoundRobin { .. } => 0,
            Algorithm::Sjf { .. } => i128::from(ticket.estimate_micros),
            Algorithm::Priority { ageing: None, .. } => -i128::from(ticket.priority),
            Algorithm::Priority { ageing: Some(step), .. } => {
                let step_micros = i128::try_from(step.as_micros()).unwrap_or(i128::from(u64::MAX));
                i128::from(ticket.arrival_micros) - i128::from(ticket.priority) * step_micros
            }
        }
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Algorithm, String> {
        match text.to_ascii_uppercase().as_str() {
            "FCFS" => Ok(Algorithm::Fcfs),
            "SJF" => Ok(Algorithm::Sjf { preemptive: false }),
            "SRTF" => Ok(Algorithm::Sjf { preemptive: true }),
            "PRIORITY" => Ok(Algorithm::Priority { preemptive: false, ageing: None }),
            "PRIORITY_PREEMPTIVE" => Ok(Algorithm::Priority { preemptive: true, ageing: None }),
            "RR" | "ROUND_ROBIN" => Ok(Algorithm::RoundRobin { quantum: QUANTUM_DEFAULT }),
            _ => {
                let shown: String = text.chars().take(32).collect();
                Err(format!("Unknown algorithm: {shown}. Available: {AVAILABLE}"))
            }
        }
    }
}

fn ageing_of(seconds: f64) -> Result<Duration, String> {
    if !AGEING_SECONDS.contains(&seconds) {
        let (least, most) = (AGEING_SECONDS.start(), AGEING_SECONDS.end());
        return Err(format!("`ageing_seconds` must be from {least} to {most}: the wait that counts as one priority"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The order of tickets: urgency, then sequence.
pub(crate) type Rank = (i128, u64);

/// A place in the queue. It is kept while a task is taken out and put back, so that the task does not lose its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Higher first, under [`Algorithm::Priority`].
    pub(crate) priority: i64,
    /// Number of the arrival; unique, since it decides between equals.
    pub(crate) sequence: u64,
    /// When it came, after an instant that is the same for all tickets of a queue.
    pub(crate) arrival_micros: u64,
    /// How long it is still expected to run.
    pub(crate) estimate_micros: u64,
}

impl Ticket {
    /// The ticket once its process has run for a while (more). What has run longer than expected counts as nearly done.
    pub(crate) fn having_run(self, ran_micros: u64) -> Ticket {
        Ticket { estimate_micros: self.estimate_micros.saturating_sub(ran_micros), ..self }
    }
}

/// Microseconds for a ticket; what is no time is none, what is too long is the longest.
pub(crate) fn micros(seconds: f64) -> u64 {
    // `as` saturates, and makes 0 of NaN.
    (seconds * 1e6).round() as u64
}

/// Why a process comes back to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// It had to give way to a more urgent one.
    Preempted,
    /// Its quantum is over.
    QuantumOver,
    /// It had waited for something else than the processor.
    Woken,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIORITY: Algorithm = Algorithm::Priority { preemptive: true, ageing: None };
    const SRTF: Algorithm = Algorithm::Sjf { preemptive: true };

    fn ticket(priority: i64, sequence: u64, arrival_micros: u64, estimate_micros: u64) -> Ticket {
        Ticket { priority, sequence, arrival_micros, estimate_micros }
    }

    #[test]
    fn names_are_taken_in_any_case_and_give_themselves_back() {
        for name in AVAILABLE.split(", ") {
            let algorithm: Algorithm = name.to_lowercase().parse().unwrap();
            assert_eq!(algorithm.label().parse(), Ok(algorithm));
        }
        assert_eq!("Round_Robin".parse(), Ok(Algorithm::RoundRobin { quantum: QUANTUM_DEFAULT }));
    }

    #[test]
    fn an_unknown_algorithm_is_refused_with_those_there_are() {
        for name in ["LIFO", "MULTILEVEL", ""] {
            let text = name.parse::<Algorithm>().unwrap_err();
            assert_eq!(text, format!("Unknown algorithm: {name}. Available: {AVAILABLE}"));
        }
        assert!("x".repeat(100_000).parse::<Algorithm>().unwrap_err().len() < 200);
    }

    #[test]
    fn options_belong_to_their_algorithm() {
        let quantum = Options { quantum: Some(Duration::from_millis(20)), ..Options::default() };
        let preemptive = Options { preemptive: Some(true), ..Options::default() };
        let ageing = Options { ageing_seconds: Some(2.0), ..Options::default() };
        assert_eq!(Algorithm::chosen("rr", quantum), Ok(Algorithm::RoundRobin { quantum: Duration::from_millis(20) }));
        assert_eq!(Algorithm::chosen("SJF", preemptive), Ok(SRTF));
        assert_eq!(Algorithm::chosen("PRIORITY", preemptive), Ok(PRIORITY));
        let aged = Algorithm::Priority { preemptive: false, ageing: Some(Duration::from_secs(2)) };
        assert_eq!(Algorithm::chosen("PRIORITY", ageing), Ok(aged));
        assert!(Algorithm::chosen("RR", preemptive).is_ok());
        for (name, options) in [
            ("FCFS", quantum),
            ("PRIORITY", quantum),
            ("FCFS", preemptive),
            ("SJF", ageing),
            ("RR", ageing),
            ("PRIORITY", Options { ageing_seconds: Some(0.0), ..Options::default() }),
            ("PRIORITY", Options { ageing_seconds: Some(f64::NAN), ..Options::default() }),
        ] {
            assert!(Algorithm::chosen(name, options).is_err(), "{name} {options:?}");
        }
    }

    #[test]
    fn a_message_says_what_is_in_force() {
        let options = Options::read(Some(20.5), None, None).unwrap();
        let choice = Algorithm::chosen("RR", options).unwrap().choice();
        assert_eq!((choice.algorithm.as_str(), choice.quantum_ms, choice.preemptive), ("RR", Some(20.5), None));
        let options = Options::read(None, Some(true), Some(1.5)).unwrap();
        let choice = Algorithm::chosen("PRIORITY", options).unwrap().choice();
        assert_eq!((choice.preemptive, choice.ageing_seconds), (Some(true), Some(1.5)));
        for quantum in [0.0, -1.0, f64::NAN, 0.0001] {
            assert!(Options::read(Some(quantum), None, None).is_err(), "{quantum}");
        }
    }

    #[test]
    fn a_quantum_that_processes_cannot_follow_is_refused() {
        for (quantum, possible) in [(QUANTUM_MIN, true), (Duration::from_millis(4), false), (QUANTUM_MAX * 2, false)] {
            assert_eq!(Algorithm::RoundRobin { quantum }.check_real().is_ok(), possible, "{quantum:?}");
        }
    }

    #[test]
    fn only_the_strictly_more_urgent_preempts() {
        let (low, high) = (ticket(1, 0, 0, 50), ticket(2, 1, 5, 50));
        assert_eq!(PRIORITY.preempts(&high, &low).unwrap(), "priority 2 is above 1");
        assert!(PRIORITY.preempts(&low, &high).is_none());
        assert!(PRIORITY.preempts(&ticket(1, 9, 9, 9), &low).is_none());
        assert!(SRTF.preempts(&high, &low).is_none());
        assert!(SRTF.preempts(&low, &high.having_run(10)).is_none());
        assert!(SRTF.preempts(&ticket(0, 3, 3, 39), &high.having_run(10)).is_some());
        let waits = Algorithm::Priority { preemptive: false, ageing: None };
        for algorithm in [Algorithm::Fcfs, waits, Algorithm::RoundRobin { quantum: QUANTUM_DEFAULT }] {
            assert!(algorithm.preempts(&high, &low).is_none(), "{algorithm:?}");
        }
    }

    #[test]
    fn the_last_of_those_that_run_gives_way() {
        let running = [("a", ticket(3, 0, 0, 0)), ("b", ticket(1, 1, 0, 0)), ("c", ticket(1, 2, 0, 0))];
        let victim = |newcomer| PRIORITY.victim(&ticket(newcomer, 7, 0, 0), running.into_iter()).map(|(key, _)| key);
        assert_eq!((victim(2), victim(1)), (Some("c"), None));
    }

    #[test]
    fn waiting_counts_with_ageing_and_time_does_not_change_the_order() {
        let step = Duration::from_secs(1);
        let ageing = Algorithm::Priority { preemptive: true, ageing: Some(step) };
        let old = ticket(0, 0, 0, 0);
        // Five steps above, but later by a little more or less than five steps.
        let (just_late, just_early) = (ticket(5, 1, 5_000_001, 0), ticket(5, 2, 4_999_999, 0));
        assert!(ageing.rank(&old) < ageing.rank(&just_late));
        assert!(ageing.rank(&just_early) < ageing.rank(&old));
        assert!(ageing.preempts(&just_late, &old).is_none());
        for priority in [i64::MIN, i64::MAX] {
            let far = Algorithm::Priority { preemptive: false, ageing: Some(Duration::from_secs(1_000_000)) };
            far.rank(&ticket(priority, 0, u64::MAX, 0));
        }
    }

    #[test]
    fn who_comes_back_goes_where_its_algorithm_says() {
        let ran = ticket(0, 3, 10, 100).having_run(30);
        assert_eq!(SRTF.put_back(ran, Return::Preempted, 9, 50), ticket(0, 3, 10, 70));
        assert_eq!(SRTF.put_back(ran, Return::QuantumOver, 9, 50), ticket(0, 9, 10, 70));
        assert_eq!(SRTF.put_back(ran, Return::Woken, 9, 50), ticket(0, 9, 50, 70));
        assert_eq!(ran.having_run(u64::MAX).estimate_micros, 0);
    }

    #[test]
    fn times_become_microseconds() {
        assert_eq!((micros(0.05), micros(-1.0), micros(f64::NAN), micros(1e300)), (50_000, 0, 0, u64::MAX));
    }
}
