//! Contenders that do the same work in turn. One that fails is out, with its reason; the others go on.

use crate::Setup;
use crate::report::{Figure, Unit};
use crate::samples::median;
use anyhow::{Context, Result};
use rustix::fs::sync;

/// Longest reason that is shown, in characters.
const REASON_MAX: usize = 400;

/// Everything that is compared with each other, with what each run of it has shown.
pub(super) struct Contest<'a, T> {
    contenders: Vec<Contender<'a, T>>,
}

struct Contender<'a, T> {
    name: String,
    /// Does the work of a round.
    run: Box<dyn FnMut(usize) -> Result<T> + 'a>,
    samples: Vec<T>,
    failure: Option<String>,
}

impl<'a, T> Contest<'a, T> {
    pub(super) fn new() -> Contest<'a, T> {
        Contest { contenders: Vec::new() }
    }

    /// One more contender: `run` gets the number of the round and does its work once.
    pub(super) fn enter(&mut self, name: impl Into<String>, run: impl FnMut(usize) -> Result<T> + 'a) {
        self.contenders.push(Contender { name: name.into(), run: Box::new(run), samples: Vec::new(), failure: None });
    }

    /// Lets all of them work in turn, every other round in the other order.
    pub(super) fn run(&mut self, setup: &Setup, rounds: usize) -> Result<()> {
        for round in 0..rounds {
            let mut order: Vec<&mut Contender<'a, T>> = self.contenders.iter_mut().collect();
            if !round.is_multiple_of(2) {
                order.reverse();
            }
            for contender in order.into_iter().filter(|contender| contender.failure.is_none()) {
                setup.interrupt.check()?;
                match (contender.run)(round) {
                    Ok(sample) => contender.samples.push(sample),
                    Err(error) => {
                        setup.interrupt.check()?;
                        contender.failure = Some(shown(&error));
                    }
                }
                // Nobody pays for what another has left to be written.
                sync();
            }
        }
        Ok(())
    }

    /// Why a contender is out.
    pub(super) fn failure(&self, name: &str) -> Option<String> {
        self.values(name, &|_| 0.0).err()
    }

    /// A line of the report: what `value` makes of each run of one contender, beside the same of another.
    pub(super) fn figure(
        &self,
        name: impl Into<String>,
        unit: Unit,
        ours: &str,
        theirs: &str,
        value: impl Fn(&T) -> f64,
    ) -> Figure {
        self.compare(name, unit, (ours, &value), (theirs, &value))
    }

    /// As [`Contest::figure`], where the two are counted in different ways.
    pub(super) fn compare(
        &self,
        name: impl Into<String>,
        unit: Unit,
        (ours, our_value): (&str, &dyn Fn(&T) -> f64),
        (theirs, their_value): (&str, &dyn Fn(&T) -> f64),
    ) -> Figure {
        let ours = match self.values(ours, our_value) {
            Ok(values) => values,
            Err(failure) => return Figure::missing(name, failure),
        };
        let figure = Figure::new(name, unit, median(&ours));
        match self.values(theirs, their_value) {
            Ok(theirs) => {
                let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
                figure.beside(median(&theirs), median(&ratios))
            }
            Err(failure) => figure.remark(failure),
        }
    }

    /// A line of the report about one contender alone.
    pub(super) fn alone(&self, name: impl Into<String>, unit: Unit, of: &str, value: impl Fn(&T) -> f64) -> Figure {
        match self.values(of, &value) {
            Ok(values) => Figure::new(name, unit, median(&values)),
            Err(failure) => Figure::missing(name, failure),
        }
    }

    fn values(&self, name: &str, value: &dyn Fn(&T) -> f64) -> Result<Vec<f64>, String> {
        let contender = self.contenders.iter().find(|contender| contender.name == name);
        let contender = contender.with_context(|| format!("nobody is called {name}")).map_err(|error| shown(&error))?;
        match &contender.failure {
            Some(failure) => Err(format!("{name}: {failure}")),
            None => Ok(contender.samples.iter().map(value).collect()),
        }
    }
}

/// An error in one line.
fn shown(error: &anyhow::Error) -> String {
    let line = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(REASON_MAX).collect()
}
