//! Looks at all that may follow, breadth first.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hasher};

use super::{Event, Row, Setting, World};

/// How large the world is that was looked at.
#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    pub transitions: usize,
    pub depth: usize,
    /// What the disk held in it.
    pub rows: HashSet<Row>,
}

/// A state that was reached, and how.
pub struct Reached {
    pub world: World,
    pub from: u32,
    pub by: Event,
    pub depth: usize,
    /// What comes next where nothing goes wrong any more.
    pub calm: Option<u32>,
}

/// Multiplies and rotates: what is hashed here nobody chose to do harm with.
#[derive(Debug, Default, Clone, Copy)]
pub struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_u8(*octet);
        }
    }

    fn write_u8(&mut self, octet: u8) {
        self.write_u64(octet.into());
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

/// Breadth first, so that a way to a broken promise is the shortest; that way is the error.
pub fn explore(setting: &Setting, bounds: [u8; 3]) -> Result<Explored, String> {
    let mut known: HashMap<World, u32, BuildHasherDefault<Quick>> = HashMap::default();
    let mut reached: Vec<Reached> = Vec::new();
    for large in [false, true] {
        for bad in [false, true] {
            let world = World::new(large, bad, bounds);
            known.insert(world, reached.len() as u32);
            reached.push(Reached { world, from: 0, by: Event::Begins, depth: 0, calm: None });
        }
    }
    let (mut transitions, mut next) = (0, 0);
    while let Some(&Reached { world, depth, .. }) = reached.get(next) {
        for (event, after) in world.steps(setting) {
            transitions += 1;
            let at = *known.entry(after).or_insert_with(|| {
                let from = next as u32;
                reached.push(Reached {
                    world: after,
                    from,
                    by: event,
                    depth: depth + 1,
                    calm: None,
                });
                reached.len() as u32 - 1
            });
            if world.is_calm(event, &after) {
                reached[next].calm = Some(at);
            }
            if let Some(promise) = after.broken_promise() {
                return Err(trace(&reached, at as usize, promise));
            }
        }
        next += 1;
    }
    comes_to_an_end(&reached)?;
    Ok(Explored {
        states: reached.len(),
        transitions,
        depth: reached.last().map_or(0, |last| last.depth),
        rows: reached.iter().map(|reached| reached.world.row).collect(),
    })
}

/// Wherever the faults stop, the mail is sent, failed or held in the end.
pub fn comes_to_an_end(reached: &[Reached]) -> Result<(), String> {
    let mut ends = vec![false; reached.len()];
    for start in 0..reached.len() {
        let mut way = HashSet::new();
        let mut at = start;
        while !ends[at] && !reached[at].world.is_ended() && !reached[at].world.is_full() {
            let Some(next) = reached[at].calm.filter(|_| way.insert(at)) else {
                return Err(trace(reached, start, "it does not come to an end"));
            };
            at = next as usize;
        }
        for at in way {
            ends[at] = true;
        }
    }
    Ok(())
}

pub fn trace(reached: &[Reached], mut at: usize, promise: &str) -> String {
    let mut steps = Vec::new();
    while reached[at].depth > 0 {
        steps.push(&reached[at]);
        at = reached[at].from as usize;
    }
    let mut text = format!("{promise}, after {} steps:\n", steps.len());
    for Reached { by, world, .. } in steps.into_iter().rev() {
        let World { row, attempt, items, calls, .. } = world;
        let (at, doubt) = (attempt.map(|attempt| attempt.at), row.progress.doubt);
        let items = items.map(|item| (item.stage, item.delivered));
        let calls: Vec<u8> = calls.iter().flatten().map(|call| call.age).collect();
        let state = row.state;
        let _ = writeln!(text, "  {by:?}: {state:?} {doubt:?} {at:?} {items:?} {calls:?}");
    }
    text
}
