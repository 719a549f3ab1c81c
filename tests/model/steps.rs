//! What may follow from a state: what the bridge does next, and all that may come in between.

use postbridge::doubt::{Answer, Doubt, Seen, Verdict};
use postbridge::graph::message::{Found, Standing};
use postbridge::store::order::Order;
use postbridge::store::spool::State;

use super::{
    At, Attempt, Broken, Call, Ended, Event, Item, MOVED, Progress, Reply, Row, Second, Setting,
    Stage, Sweep, UNIT, World, now, patience,
};

/// Everything that may follow from a state.
struct Steps<'s> {
    setting: &'s Setting,
    steps: Vec<(Event, World)>,
}

impl Steps<'_> {
    fn add(&mut self, event: Event, world: World) {
        self.steps.push((event, world));
    }

    /// Something goes wrong, if it still may.
    fn fault(&mut self, event: Event, world: World) {
        if let Some(faults) = world.faults.checked_sub(1) {
            self.steps.push((event, World { faults, ..world }));
        }
    }

    fn is_broken(&self, how: Broken) -> bool {
        self.setting.broken == Some(how)
    }
}

impl World {
    pub fn new(large: bool, bad: bool, [faults, deletions, orders]: [u8; 3]) -> World {
        let row = Row { state: State::Queued, progress: Progress::default(), by_order: false };
        World {
            large,
            bad,
            row,
            attempt: None,
            sweep: None,
            items: [Item::default(); 2],
            calls: [None; 3],
            faults,
            deletions,
            orders,
            user_deleted: false,
            patience_over: false,
        }
    }

    pub fn is_ended(&self) -> bool {
        matches!(self.row.state, State::Sent | State::Failed | State::Held)
    }

    /// What is promised and does not hold.
    pub fn broken_promise(&self) -> Option<&'static str> {
        let counted: u8 =
            self.items.iter().filter(|item| !item.excused).map(|item| item.delivered).sum();
        if counted > 1 {
            return Some("it went twice");
        }
        match self.row.state {
            _ if self.row.by_order => None,
            State::Sent if self.items.iter().all(|item| item.delivered == 0) => {
                Some("sent, and it did not go")
            }
            State::Failed if counted > 0 => Some("failed, and it went"),
            State::Held if !self.user_deleted && !self.patience_over => Some("held without need"),
            _ => None,
        }
    }

    pub fn steps(self, setting: &Setting) -> Vec<(Event, World)> {
        let mut to = Steps { setting, steps: Vec::with_capacity(16) };
        match self.attempt {
            Some(attempt) => self.go_on(attempt, &mut to),
            None => self.rest(&mut to),
        }
        self.outside(&mut to);
        self.sweep(&mut to);
        to.steps
    }

    /// The steps of an attempt, as `execute` makes them.
    fn go_on(self, attempt: Attempt, to: &mut Steps<'_>) {
        let Attempt { at, progress, .. } = attempt;
        let at_next = |at| World { attempt: Some(Attempt { at, ..attempt }), ..self };
        let row_next = |row, at| World { row, ..at_next(at) };
        let row = self.row;
        let later = At::Ended(Ended::Later);
        match at {
            At::Claimed => match progress.doubt {
                None => to.add(Event::Begins, at_next(next_call(&progress))),
                Some(doubt) if doubt.look_in > 0 && !to.is_broken(Broken::TooEarly) => {
                    to.add(Event::TooEarlyToLook, at_next(At::Ended(Ended::InDoubt)));
                }
                Some(_) => {
                    to.add(Event::Look, at_next(At::Looked(self.look(&progress))));
                    to.fault(Event::LookFails, at_next(later));
                }
            },
            At::Looked(seen) => {
                let doubt = Doubt::from(progress.doubt.unwrap());
                match doubt.judge(seen, now(), patience()) {
                    Verdict::Sent => to.add(Event::Judge, at_next(At::Ended(Ended::Sent))),
                    Verdict::SendAgain => to.add(Event::Judge, at_next(next_call(&progress))),
                    Verdict::LookAgain(doubt) if doubt.unsent && to.is_broken(Broken::OneLook) => {
                        to.add(Event::Judge, at_next(next_call(&progress)));
                    }
                    Verdict::LookAgain(doubt) => {
                        let progress = Progress { doubt: Some((&doubt).into()), ..progress };
                        let row = Row { progress, ..row };
                        to.add(Event::Judge, row_next(row, At::Ended(Ended::InDoubt)));
                        to.fault(Event::DiskFails, at_next(later));
                    }
                    Verdict::Held => to.add(Event::Judge, at_next(At::Ended(Ended::Unknown))),
                }
            }
            At::ToMake => {
                to.fault(Event::DraftNotMade, at_next(later));
                let Some(id) = self.items.iter().position(|item| item.stage == Stage::NotMade)
                else {
                    return;
                };
                let mut made = self;
                made.items[id] =
                    Item { stage: Stage::Unsent, tagged: self.large, ..Item::default() };
                let progress = Progress { draft: Some(id), tagged: self.large, doubt: None };
                let at = next_call(&progress);
                let attempt = Attempt { at, progress, ..attempt };
                let row = Row { progress, ..row };
                to.add(Event::DraftMade, World { row, attempt: Some(attempt), ..made });
                let attempt = Attempt { at: later, ..self.attempt.unwrap() };
                let unknown = World { attempt: Some(attempt), ..made };
                to.fault(Event::DraftMadeWithoutAnswer, unknown);
            }
            At::ToTag => {
                let id = progress.draft.unwrap();
                to.fault(Event::TagFails, at_next(later));
                if self.items[id].stage == Stage::Gone {
                    let row = Row { progress: Progress { draft: None, ..progress }, ..row };
                    to.add(Event::DraftGone, row_next(row, later));
                    return;
                }
                let mut tagged = self;
                tagged.items[id].tagged = true;
                let progress = Progress { tagged: true, ..progress };
                let attempt = Attempt { at: At::ToRecord, progress, ..attempt };
                to.add(Event::Tagged, World { attempt: Some(attempt), ..tagged });
            }
            At::ToRecord => {
                let doubt = Some((&Doubt::new(now(), patience())).into());
                let row = if to.is_broken(Broken::NoRecord) {
                    row
                } else {
                    row.begin_sending(Progress { doubt, ..progress })
                };
                to.add(Event::Record, row_next(row, At::ToCall));
                to.fault(Event::DiskFails, at_next(later));
            }
            At::ToCall => {
                let call = Call { item: progress.draft.unwrap(), age: 0, awaited: true };
                let mut begun = at_next(At::Waiting);
                if let Some(free) = begun.calls.iter_mut().find(|call| call.is_none()) {
                    *free = Some(call);
                    to.add(Event::CallBegins, begun);
                }
            }
            At::Waiting => {
                let mut left = at_next(At::Answered(Reply::None));
                let mut refused = self;
                for call in 0..self.calls.len() {
                    if self.calls[call].is_some_and(|call| call.awaited) {
                        left.calls[call].as_mut().unwrap().awaited = false;
                        refused.calls[call] = None;
                    }
                }
                to.fault(Event::NoAnswer, left.in_order());
                for (event, reply) in [
                    (Event::Throttled, Reply::Throttled),
                    (Event::TokenRefused, Reply::TokenRefused),
                ] {
                    let attempt = Attempt { at: At::Answered(reply), ..attempt };
                    to.fault(event, World { attempt: Some(attempt), ..refused.in_order() });
                }
            }
            At::Answered(reply) => self.weigh(reply, attempt, to),
            At::Ended(ended) => {
                let settle = |state| {
                    let row = Row { state, ..row };
                    World { row, attempt: None, ..self }
                };
                let state = match ended {
                    Ended::Sent => State::Sent,
                    Ended::Failed => State::Failed,
                    Ended::Unknown => State::Held,
                    Ended::Later | Ended::InDoubt => State::Queued,
                };
                to.add(Event::Settle, settle(state));
                if state == State::Queued && !self.patience_over {
                    let in_doubt = ended == Ended::InDoubt || progress.doubt.is_some();
                    let is_held = in_doubt && !to.is_broken(Broken::PatienceFails);
                    let state = if is_held { State::Held } else { State::Failed };
                    let over = World { patience_over: true, ..settle(state) };
                    to.add(Event::FiveDaysAreOver, over);
                }
            }
        }
    }

    /// What an answer makes of the record.
    fn weigh(self, reply: Reply, attempt: Attempt, to: &mut Steps<'_>) {
        let Attempt { progress, renewed, .. } = attempt;
        let with = |row, at, renewed| {
            let attempt = Attempt { at, renewed, slept: false, ..attempt };
            World { row, attempt: Some(attempt), ..self }
        };
        let row = self.row;
        if reply == Reply::Accepted {
            return to.add(Event::Weigh, with(row, At::Ended(Ended::Sent), renewed));
        }
        let (in_doubt, later) = (At::Ended(Ended::InDoubt), At::Ended(Ended::Later));
        let answer = match reply {
            Reply::NotFound if to.is_broken(Broken::NotFoundCounts) => Answer::Refused,
            _ => reply.failure().of_a_send(),
        };
        let earlier = progress.doubt.map(Doubt::from);
        let earlier = earlier.as_ref().filter(|_| !to.is_broken(Broken::FirstRefusalCounts));
        // However long ago the call was begun, it is over now.
        let since = now() - UNIT * 10;
        match answer.weigh(earlier, since, now(), patience()) {
            Some(_) if to.is_broken(Broken::NoLook) => {
                to.add(Event::Weigh, with(row.not_sent(progress), later, renewed));
            }
            Some(doubt) => {
                let doubt = Some((&doubt).into());
                let doubted = if to.is_broken(Broken::CountedFromRecord) {
                    row
                } else {
                    Row { progress: Progress { doubt, ..progress }, ..row }
                };
                to.add(Event::Weigh, with(doubted, in_doubt, renewed));
                // As with a crash.
                if !attempt.slept || to.setting.late_call_lost {
                    to.fault(Event::DiskFails, with(row, in_doubt, renewed));
                }
            }
            None => {
                let at = match reply {
                    Reply::TokenRefused if !renewed => At::ToRecord,
                    Reply::TokenRefused | Reply::Throttled => later,
                    _ => At::Ended(Ended::Failed),
                };
                let kept = Progress {
                    doubt: progress.doubt.filter(|_| !to.is_broken(Broken::EarlierForgotten)),
                    ..progress
                };
                let renewed = renewed || reply == Reply::TokenRefused;
                to.add(Event::Weigh, with(row.not_sent(kept), at, renewed));
                to.fault(Event::DiskFails, with(row, later, renewed));
            }
        }
    }

    /// What may happen to a mail that nobody is at work on.
    fn rest(self, to: &mut Steps<'_>) {
        if self.row.state == State::Queued {
            let row = Row { state: State::Attempting, ..self.row };
            let progress = row.progress;
            let attempt = Attempt { at: At::Claimed, progress, renewed: false, slept: false };
            let sweep = self.sweep.map(|sweep| Sweep { overtaken: true, ..sweep });
            to.add(Event::Claim, World { row, attempt: Some(attempt), sweep, ..self });
        }
        let Some(orders) = self.orders.checked_sub(1) else { return };
        for order in [Order::Retry, Order::Drop, Order::Sent, Order::SendAgain] {
            let Some(row) = self.row.order(order).filter(|row| *row != self.row) else { continue };
            let mut ordered = World { row, orders, ..self };
            if order == Order::SendAgain {
                for item in ordered.items.iter_mut().filter(|item| item.stage != Stage::NotMade) {
                    item.excused = true;
                }
            }
            to.add(Event::Ordered, ordered);
        }
    }

    /// Time, the mailbox, its user, a crash.
    fn outside(self, to: &mut Steps<'_>) {
        for (at, call) in self.calls.iter().enumerate() {
            let Some(call) = *call else { continue };
            for (reply, item) in self.effect(call.item, to.setting) {
                let mut after = self;
                after.calls[at] = None;
                after.items[call.item] = item;
                if call.awaited {
                    after.attempt.as_mut().unwrap().at = At::Answered(reply);
                }
                to.add(Event::Effect, after.in_order());
                if reply == Reply::Accepted && to.setting.second_send == Second::Harmless {
                    if let Some(attempt) = after.attempt.as_mut().filter(|_| call.awaited) {
                        attempt.at = At::Answered(Reply::NotFound);
                    }
                    to.fault(Event::MadeTwiceOnTheWay, after.in_order());
                }
            }
        }
        if let Some(later) = self.later(to.setting).filter(|later| *later != self) {
            to.add(Event::UnitPasses, later);
        }
        for (id, item) in self.items.iter().enumerate() {
            let mut after = self;
            if let Stage::Hidden(_) = item.stage {
                after.items[id].stage = Stage::Sent;
                to.add(Event::LeavesDrafts, after);
            }
            if matches!(item.stage, Stage::Unsent | Stage::Hidden(_) | Stage::Sent)
                && let Some(deletions) = self.deletions.checked_sub(1)
            {
                after.items[id].stage = Stage::Gone;
                to.add(Event::UserDeletes, World { deletions, user_deleted: true, ..after });
            }
        }
        let may_crash = |attempt: Attempt| !attempt.slept || to.setting.late_call_lost;
        if self.attempt.is_some_and(may_crash) {
            let mut row = self.row.start();
            if to.is_broken(Broken::ForgottenAtStart) && self.row.state == State::Sending {
                row.progress.doubt = None;
            }
            let mut after = World { row, attempt: None, sweep: None, ..self };
            for call in after.calls.iter_mut().flatten() {
                call.awaited = false;
            }
            to.fault(Event::Crash, after.in_order());
        }
    }

    /// What a call does, and is answered.
    fn effect(&self, id: usize, setting: &Setting) -> Vec<(Reply, Item)> {
        let item = self.items[id];
        let sent = |stage| Item { stage, delivered: item.delivered + 1, ..item };
        match item.stage {
            Stage::NotMade | Stage::Gone => vec![(Reply::NotFound, item)],
            Stage::Unsent if self.bad => vec![(Reply::Refused, item)],
            Stage::Unsent if setting.flags_hidden => {
                vec![(Reply::Accepted, sent(Stage::Hidden(0)))]
            }
            Stage::Unsent => vec![(Reply::Accepted, sent(Stage::Sent))],
            Stage::Hidden(_) | Stage::Sent => match setting.second_send {
                Second::Sends => vec![(Reply::Accepted, sent(item.stage))],
                Second::Harmless => [Reply::NotFound, Reply::Refused, Reply::Accepted]
                    .map(|reply| (reply, item))
                    .into(),
            },
        }
    }

    /// A unit of time passes; `None`: something happens first.
    fn later(self, setting: &Setting) -> Option<World> {
        let mut later = self;
        let claimed = later.attempt.iter_mut().map(|attempt| &mut attempt.progress);
        for progress in claimed.chain([&mut later.row.progress]) {
            if let Some(doubt) = &mut progress.doubt {
                doubt.look_in = doubt.look_in.saturating_sub(1);
            }
        }
        if let Some(attempt) = &mut later.attempt {
            attempt.slept |= attempt.at == At::ToCall;
        }
        for item in &mut later.items {
            item.stage = match item.stage {
                Stage::Hidden(units) if units + 1 < MOVED => Stage::Hidden(units + 1),
                Stage::Hidden(_) => Stage::Sent,
                stage => stage,
            };
        }
        for call in &mut later.calls {
            let Some(under_way) = call else { continue };
            under_way.age += 1;
            match setting.effect_before {
                None => under_way.age = 0,
                Some(latest) if under_way.age < latest => {}
                // It is answered before.
                Some(_) if under_way.awaited => return None,
                Some(_) => *call = None,
            }
        }
        Some(later.in_order())
    }

    /// Of calls that are alike it does not matter which comes first.
    fn in_order(mut self) -> World {
        self.calls.sort_unstable_by_key(|call| {
            call.map_or((1, 0, 0, false), |call| (0, call.item, call.age, call.awaited))
        });
        self
    }

    /// As `graph::draft` looks: by its id, then by the tag.
    fn look(&self, progress: &Progress) -> Seen {
        let draft = progress.draft.unwrap();
        let own = self.items[draft].found(draft);
        let mut seen: Vec<Found> = own.cloned().into_iter().collect();
        if !own.is_some_and(Found::is_sent) {
            // The newest comes first.
            let tagged = self.items.iter().enumerate().rev().filter(|(_, item)| item.tagged);
            seen.extend(tagged.filter_map(|(id, item)| item.found(id)).cloned());
        }
        match Standing::of(&seen, Some(&draft.to_string())) {
            Standing::Sent | Standing::Submitted => Seen::Sent,
            Standing::Unsent => Seen::Unsent,
            Standing::Nowhere => Seen::Nowhere,
        }
    }

    /// Drafts are deleted that a mail left behind which failed; at once.
    fn sweep(self, to: &mut Steps<'_>) {
        let Some(sweep) = self.sweep else {
            let left = self.items.iter().any(|item| item.is_left());
            if self.row.state == State::Failed && left {
                let sweep = Some(Sweep { listed: None, overtaken: false });
                to.add(Event::SweepBegins, World { sweep, ..self });
            }
            return;
        };
        let Some(listed) = sweep.listed else {
            let listed = Some(self.items.map(|item| item.is_left()));
            let overtaken = sweep.overtaken || self.row.state != State::Failed;
            let goes_on = !overtaken || to.is_broken(Broken::SweptBlindly);
            let sweep = goes_on.then_some(Sweep { listed, overtaken });
            return to.add(Event::SweepLists, World { sweep, ..self });
        };
        let mut after = World { sweep: None, ..self };
        for (item, _) in after.items.iter_mut().zip(listed).filter(|(_, listed)| *listed) {
            item.stage = Stage::Gone;
        }
        to.add(Event::SweepDeletes, after);
    }

    /// Whether a step is the next one where nothing goes wrong any more.
    pub fn is_calm(&self, event: Event, next: &World) -> bool {
        let is_early = self.row.progress.doubt.is_some_and(|doubt| doubt.look_in > 0);
        match event {
            Event::UnitPasses => self.attempt.is_none() && is_early,
            Event::Claim => !is_early,
            Event::Effect => {
                let at = |world: &World| world.attempt.map(|attempt| attempt.at);
                at(self) == Some(At::Waiting) && at(next) != Some(At::Waiting)
            }
            Event::Begins
            | Event::Look
            | Event::TooEarlyToLook
            | Event::Judge
            | Event::DraftMade
            | Event::Tagged
            | Event::DraftGone
            | Event::Record
            | Event::CallBegins
            | Event::Weigh
            | Event::Settle => true,
            _ => false,
        }
    }

    /// The model has no place for what would follow: a third draft, a fourth call.
    pub fn is_full(&self) -> bool {
        match self.attempt.map(|attempt| attempt.at) {
            Some(At::ToMake) => self.items.iter().all(|item| item.stage != Stage::NotMade),
            Some(At::ToCall) => self.calls.iter().all(Option::is_some),
            _ => false,
        }
    }
}

impl Item {
    /// As far as a sweeper sees.
    fn is_left(&self) -> bool {
        self.tagged && matches!(self.stage, Stage::Unsent | Stage::Hidden(_))
    }
}

/// What is done for a mail of which nothing is in doubt.
fn next_call(progress: &Progress) -> At {
    match progress.draft {
        None => At::ToMake,
        Some(_) if !progress.tagged => At::ToTag,
        Some(_) => At::ToRecord,
    }
}
