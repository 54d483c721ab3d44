//! How attempts continue the trace of the webhook, with the feature `opentelemetry`.

use number7_core::Record;
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::model::trace::Trace;

/// The trace of a request, as it is stored.
pub(crate) fn trace(record: &Record) -> Option<Trace> {
    let context = record.trace_context()?;
    let (parent, state) = (context.traceparent().to_owned(), context.tracestate().to_owned());
    Some(Trace { parent, state })
}

/// Makes the span of an attempt a child of the request's, or links it if it is not the first attempt. The attributes are
/// those of the semantic conventions for messaging.
///
/// It does nothing without a layer of `tracing-opentelemetry`, so that no other log shows the kind of the span.
pub(crate) fn describe(span: &Span, inbox: &str, key: &str, trace: Option<&Trace>, is_first: bool) {
    let sender = trace.and_then(read);
    let parent = match &sender {
        Some(sender) if is_first => Context::new().with_remote_span_context(sender.clone()),
        // The span has no parent.
        _ => Context::new(),
    };
    if span.set_parent(parent).is_err() {
        return;
    }
    if let Some(sender) = sender.filter(|_| !is_first) {
        span.add_link(sender);
    }
    span.record("otel.kind", "consumer");
    for (name, value) in [
        ("messaging.system", "number7"),
        ("messaging.operation.name", "attempt"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", inbox),
        ("messaging.message.id", key),
    ] {
        span.set_attribute(name, value.to_owned());
    }
}

/// The parent was checked before it was stored, but somebody may have changed it there.
fn read(trace: &Trace) -> Option<SpanContext> {
    let [_, id, span, flags] = trace.parent.split('-').collect::<Vec<_>>().try_into().ok()?;
    let context = SpanContext::new(
        TraceId::from_hex(id).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        trace.state.parse::<TraceState>().unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}
