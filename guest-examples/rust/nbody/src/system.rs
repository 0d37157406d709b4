//! Bodies that attract each other.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// In these units, distances between sun and earth and years, gravity's constant is one.
const SOLAR_MASS: f64 = 4.0 * PI * PI;
const DAYS_PER_YEAR: f64 = 365.24;

/// A body, as it comes in and goes out.
#[derive(Clone, Serialize, Deserialize)]
pub struct Body {
    #[serde(default)]
    pub name: String,
    /// The sun has 4 * pi * pi.
    pub mass: f64,
    /// Distances between sun and earth.
    pub position: [f64; 3],
    /// Such distances in a year.
    pub velocity: [f64; 3],
}

pub struct System {
    pub bodies: Vec<Body>,
}

impl System {
    /// The sun and its four large planets, seen from where their common centre of mass rests.
    pub fn of_the_sun() -> System {
        let mut bodies =
            vec![Body { name: "sun".to_owned(), mass: SOLAR_MASS, position: [0.0; 3], velocity: [0.0; 3] }];
        for (name, solar_masses, position, velocity_per_day) in PLANETS {
            bodies.push(Body {
                name: name.to_owned(),
                mass: solar_masses * SOLAR_MASS,
                position,
                velocity: velocity_per_day.map(|part| part * DAYS_PER_YEAR),
            });
        }
        for axis in 0..3 {
            let momentum: f64 = bodies.iter().map(|body| body.velocity[axis] * body.mass).sum();
            bodies[0].velocity[axis] = -momentum / SOLAR_MASS;
        }
        System { bodies }
    }

    /// Kinetic and potential energy together. What it loses or wins is the error of the steps.
    pub fn energy(&self) -> f64 {
        let mut energy = 0.0;
        for (index, body) in self.bodies.iter().enumerate() {
            energy += 0.5 * body.mass * squared(body.velocity);
            for other in &self.bodies[index + 1..] {
                energy -= body.mass * other.mass / squared(difference(body.position, other.position)).sqrt();
            }
        }
        energy
    }

    /// Lets time pass: first each pair changes its velocities, then everybody moves.
    pub fn advance(&mut self, steps: u32, step_years: f64) {
        for _ in 0..steps {
            for index in 0..self.bodies.len() {
                let (this_and_before, behind) = self.bodies.split_at_mut(index + 1);
                let body = &mut this_and_before[index];
                for other in behind {
                    let towards = difference(body.position, other.position);
                    let distance_squared = squared(towards);
                    let pull = step_years / (distance_squared * distance_squared.sqrt());
                    for axis in 0..3 {
                        body.velocity[axis] -= towards[axis] * other.mass * pull;
                        other.velocity[axis] += towards[axis] * body.mass * pull;
                    }
                }
            }
            for body in &mut self.bodies {
                for axis in 0..3 {
                    body.position[axis] += step_years * body.velocity[axis];
                }
            }
        }
    }
}

fn difference(one: [f64; 3], other: [f64; 3]) -> [f64; 3] {
    [one[0] - other[0], one[1] - other[1], one[2] - other[2]]
}

fn squared(vector: [f64; 3]) -> f64 {
    vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2]
}

/// Name, mass, position and velocity per day of the planets on one day.
const PLANETS: [(&str, f64, [f64; 3], [f64; 3]); 4] = [
    (
        "jupiter",
        9.547_919_384_243_266e-4,
        [4.841_431_442_464_72, -1.160_320_044_027_428_4, -1.036_220_444_711_231_1e-1],
        [1.660_076_642_744_037e-3, 7.699_011_184_197_404e-3, -6.904_600_169_720_63e-5],
    ),
    (
        "saturn",
        2.858_859_806_661_308e-4,
        [8.343_366_718_244_58, 4.124_798_564_124_305, -4.035_234_171_143_214e-1],
        [-2.767_425_107_268_624e-3, 4.998_528_012_349_172e-3, 2.304_172_975_737_639_3e-5],
    ),
    (
        "uranus",
        4.366_244_043_351_563e-5,
        [1.289_436_956_213_913_1e1, -1.511_115_140_169_863_1e1, -2.233_075_788_926_557_3e-1],
        [2.964_601_375_647_616e-3, 2.378_471_739_594_809_5e-3, -2.965_895_685_402_375_6e-5],
    ),
    (
        "neptune",
        5.151_389_020_466_114_5e-5,
        [1.537_969_711_485_091_7e1, -2.591_931_460_998_796_4e1, 1.792_587_729_503_711_8e-1],
        [2.680_677_724_903_893_2e-3, 1.628_241_700_382_423e-3, -9.515_922_545_197_159e-5],
    ),
];
