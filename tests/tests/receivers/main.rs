//! What the receivers do, in both frameworks. It is one program, because each program takes long to link.

mod accounts;
mod actix_middleware;
mod behind_proxies;
mod diagnosis;
mod lenient_reading;
mod live_secrets;
mod plain_hyper;
mod properties;
mod rejection_bodies;
mod slow_bodies;
mod stacks;
mod table;
mod tower_layer;
mod vectors;
