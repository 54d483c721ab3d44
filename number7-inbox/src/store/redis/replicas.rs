//! Writes that are confirmed only when replicas have them.

use std::{mem, time::Duration};

use redis::{RedisError, Value, from_redis_value};
use tokio::sync::{mpsc, oneshot};
use tracing::instrument::WithSubscriber;

use super::{fault::serves_no_more, link::Link, script::Call};
use crate::model::time::millis;
use crate::{
    model::error::{InboxError, InboxErrorKind},
    store::driver::Driver,
};

/// How long replicas may take unless it is set: 1 second.
const DEFAULT_TIME: Duration = Duration::from_secs(1);

/// The longest time that can be set: 2 seconds. A write may also wait for the replicas of earlier writes, and has 4
/// seconds in all.
const LONGEST_TIME: Duration = Duration::from_secs(2);

/// How many writes are sent together.
const MOST_AT_ONCE: usize = 256;

/// How many replicas a write waits for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replicas {
    pub(super) count: usize,
    time: Duration,
}

impl Replicas {
    /// Reads `?wait_replicas=1&wait_ms=500` in a URL. `None` if neither is there.
    pub(super) fn of_url(url: &str) -> Result<Option<Self>, InboxError> {
        let refused = |text: String| InboxError::new(InboxErrorKind::Invalid, text);
        let (mut count, mut millis) = (None, None);
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        for (name, value) in query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")))
        {
            let number = value.parse::<u16>().ok().filter(|number| *number > 0);
            match name {
                "wait_replicas" => {
                    count = Some(number.map(usize::from).ok_or_else(|| {
                        refused(
                            "wait_replicas in the URL must be a number of replicas, from 1".into(),
                        )
                    })?)
                }
                "wait_ms" => {
                    let longest = u16::try_from(LONGEST_TIME.as_millis()).unwrap_or(u16::MAX);
                    let number = number.filter(|number| *number <= longest);
                    millis = Some(number.ok_or_else(|| {
                        refused(format!(
                            "wait_ms in the URL must be from 1 to {longest} milliseconds"
                        ))
                    })?);
                }
                _ if name.starts_with("wait") => {
                    let text = "the URL may have wait_replicas and wait_ms, and no other wait";
                    return Err(refused(text.into()));
                }
                _ => {}
            }
        }
        let time = millis.map_or(DEFAULT_TIME, |millis| Duration::from_millis(millis.into()));
        match count {
            Some(count) => Ok(Some(Self { count, time })),
            None if millis.is_some() => {
                Err(refused("wait_ms in the URL needs wait_replicas".into()))
            }
            None => Ok(None),
        }
    }
}

/// Sends such writes. They have a connection of their own, because while a connection waits for replicas, Redis
/// answers nothing else on it, and because Redis waits only for the writes of that connection. Writes that arrive
/// meanwhile are sent together, and wait once.
pub(super) struct Replicated(mpsc::UnboundedSender<Write>);

struct Write {
    call: Call,
    answer: oneshot::Sender<Result<Value, InboxError>>,
}

impl Replicated {
    pub(super) fn start(replicas: Replicas, link: Link, driver: &Driver) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        driver.runtime().spawn(run(replicas, link, receiver).with_current_subscriber());
        Self(sender)
    }

    /// Makes a write, and waits until the replicas have it. The write may have happened even if this fails.
    pub(super) async fn write(&self, call: Call) -> Result<Value, InboxError> {
        let (answer, answered) = oneshot::channel();
        let is_handed_in = self.0.send(Write { call, answer }).is_ok();
        let ended = || InboxError::from(InboxErrorKind::Unreachable);
        if !is_handed_in {
            return Err(ended());
        }
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

async fn run(replicas: Replicas, link: Link, mut receiver: mpsc::UnboundedReceiver<Write>) {
    let mut writes: Vec<Write> = Vec::new();
    while receiver.recv_many(&mut writes, MOST_AT_ONCE).await > 0 {
        // Nobody waits for these anymore.
        writes.retain(|write| !write.answer.is_closed());
        while let Some(first) = writes.first() {
            let together = match link.is_cluster() {
                // Another inbox may be on another node.
                true => {
                    let inbox = first.call.inbox().to_owned();
                    writes.extract_if(.., |write| write.call.inbox() == inbox).collect()
                }
                false => mem::take(&mut writes),
            };
            let (answers, calls): (Vec<_>, Vec<_>) =
                together.into_iter().map(|write| (write.answer, write.call)).unzip();
            match write(replicas, &link, calls).await {
                Ok(values) => {
                    for (answer, value) in answers.into_iter().zip(values) {
                        _ = answer.send(value);
                    }
                }
                Err(error) => {
                    for answer in answers {
                        _ = answer.send(Err(error.copy()));
                    }
                }
            }
        }
    }
}

/// Makes the writes, and then waits for the replicas, once.
async fn write(
    replicas: Replicas,
    link: &Link,
    calls: Vec<Call>,
) -> Result<Vec<Result<Value, InboxError>>, InboxError> {
    let mut pipeline = redis::pipe();
    for call in calls {
        pipeline.add_command(call.by_code());
    }
    pipeline.cmd("WAIT").arg(replicas.count).arg(millis(replicas.time));
    pipeline.ignore_errors();
    let pipeline = &pipeline;
    let mut values = link
        .run_again(async |mut connection| {
            let values: Vec<Result<Value, RedisError>> =
                pipeline.query_async(&mut connection).await?;
            let mut errors = values.iter().filter_map(|value| value.as_ref().err());
            let useless = errors.find(|error| serves_no_more(error)).cloned();
            useless.map_or(Ok(values), Err)
        })
        .await?;
    let confirmed = values.pop().transpose()?.unwrap_or(Value::Int(0));
    let confirmed: usize = from_redis_value(confirmed).map_err(RedisError::from)?;
    if confirmed < replicas.count {
        let text = format!(
            "{confirmed} of {} replicas confirmed the write within {:?}",
            replicas.count, replicas.time
        );
        return Err(InboxError::new(InboxErrorKind::TooSlow, text));
    }
    Ok(values.into_iter().map(|value| value.map_err(InboxError::from)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replicas_are_in_the_url() {
        let of = |query: &str| Replicas::of_url(&format!("redis://:secret@host:6379/0{query}"));
        let waits = |count, millis| Some(Replicas { count, time: Duration::from_millis(millis) });
        for (query, expected) in [
            ("", None),
            ("?protocol=resp3", None),
            ("?wait_replicas=1", waits(1, 1_000)),
            ("?protocol=2&wait_replicas=2&wait_ms=250", waits(2, 250)),
            ("?wait_ms=2000&wait_replicas=1#insecure", waits(1, 2_000)),
        ] {
            assert_eq!(of(query).unwrap(), expected, "{query}");
        }
        for query in [
            "?wait_replicas",
            "?wait_replicas=0",
            "?wait_replicas=one",
            "?wait_replica=1",
            "?wait_ms=500",
            "?wait_replicas=1&wait_ms=0",
            "?wait_replicas=1&wait_ms=2001",
            "?wait_replicas=1&wait_timeout=1",
        ] {
            let error = of(query).unwrap_err();
            assert_eq!(error.kind(), InboxErrorKind::Invalid, "{query}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
