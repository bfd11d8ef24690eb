//! The run as goose knows it: one scenario, whose users are the clients and one more that conducts.
//!
//! Goose launches the users, gives them HTTP clients, counts requests, and listens for Ctrl-C. Deliveries are counted by
//! us: there are too many of them for its channel, and it has no notion of what was due.

use std::sync::Arc;
use std::time::Duration;

use goose::client::GooseClientBuilder;
use goose::config::GooseConfiguration;
use goose::goose::{GooseUser, Scenario, Transaction, TransactionFunction};
use goose::metrics::GooseMetrics;
use goose::{GooseAttack, GooseError};

use crate::report::Request;
use crate::run::{Run, conduct, take_part};

/// Runs it to its end. `launches` is how many users come in a second.
pub(crate) async fn attack(run: Arc<Run>, scenario: &str, launches: u32) -> Result<Vec<Request>, GooseError> {
    let users = run.plan.seats.len();
    let ramp_up = Duration::from_secs_f64(users as f64 / f64::from(launches.max(1)));
    let host = run.doors.first().map_or("", |door| door.target.as_str());
    let (number, rate) = ((users + 1).to_string(), launches.to_string());
    let arguments = [
        "--host",
        host,
        "--users",
        &number,
        "--increase-rate",
        &rate,
        "--iterations",
        "1",
        "--no-print-metrics",
        "--no-telnet",
        "--no-transaction-metrics",
        "--no-scenario-metrics",
        "-qq",
    ];
    let configuration = GooseConfiguration::parse_args_default(&arguments)?;
    // One user is the first, and conducts; the others are clients in the order in which they come.
    let function: TransactionFunction = Arc::new(move |user: &mut GooseUser| {
        let run = Arc::clone(&run);
        Box::pin(async move {
            match run.stage.take_number().checked_sub(1) {
                None => conduct(user, &run, ramp_up).await,
                Some(client) => take_part(user, &run, client).await,
            }
        })
    });
    let metrics = GooseAttack::initialize_with_config(configuration)?
        // Who needs cookies gets a client of its own; making one for each would take longer than connecting.
        .set_client_builder_without_cookies(GooseClientBuilder::new().without_cookies())?
        .register_scenario(Scenario::new(scenario).register_transaction(Transaction::new(function)))
        .execute()
        .await?;
    Ok(requests(&metrics))
}

fn requests(metrics: &GooseMetrics) -> Vec<Request> {
    let mut requests: Vec<Request> = metrics
        .requests
        .values()
        .map(|request| Request {
            name: format!("{} {}", request.method_label(), request.path),
            count: (request.success_count + request.fail_count) as u64,
            failed: request.fail_count as u64,
            p50_ms: request.raw_data.percentile_us(0.5) as f64 / 1e3,
            p99_ms: request.raw_data.percentile_us(0.99) as f64 / 1e3,
        })
        .collect();
    requests.sort_by(|a, b| a.name.cmp(&b.name));
    requests
}
