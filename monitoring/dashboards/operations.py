"""The dashboard "operations": health, queues, failures."""

from grafana_foundation_sdk.models import dashboard as models

from monitoring.dashboards.panels import BAD, GOOD, WARN, board, curves, number, ranking

_UP = {0: ("down", BAD), 1: ("works", GOOD)}


def operations() -> models.Dashboard:
    return board(
        "stenopool-operations",
        "Stenopool: operations",
        "Health, queues and failures. The first row shows whether everything works; alerts link to runbooks.",
        {
            "Summary": [
                number(
                    "Works",
                    'min(up{job="stenopool-exporter"}) * min(stenopool_dependency_up{job="stenopool-exporter"})',
                    "The exporter responds, and reaches the destination and Prefect's server.",
                    names=_UP,
                    span=3,
                ),
                number(
                    "Alerts",
                    'count(ALERTS{service="stenopool", alertstate="firing"}) or vector(0)',
                    "Firing alerts. Each links to a runbook in docs/runbooks.",
                    steps=[(None, GOOD), (1, BAD)],
                    span=3,
                ),
                number(
                    "Runs waiting",
                    "sum(stenopool:runs_waiting:sum)",
                    "Runs that are due and have no machine yet, in all queues. A run in a gpu queue is a shard: up to "
                    "STENOPOOL_BATCH__SHARD_SECONDS of audio, four hours unless set otherwise.",
                    span=3,
                ),
                number(
                    "Longest wait",
                    "max(stenopool:queue_oldest_seconds:max)",
                    "How long the oldest run has been due. Alert: 15 minutes if interactive, 8 hours if a batch.",
                    unit="s",
                    steps=[(None, GOOD), (900, WARN), (28800, BAD)],
                    span=3,
                ),
                number(
                    "Done in 24 h",
                    'sum(increase(stenopool_recordings_total{status="done"}[1d]))',
                    "Recordings with a new transcript.",
                    decimals=0,
                    span=3,
                ),
                number(
                    "Failures",
                    "stenopool:failures:ratio1h",
                    "Share of the recordings of the last hour without a transcript: quarantined, or deferred to "
                    "another run. Alert: above 5 %.",
                    unit="percentunit",
                    steps=[(None, GOOD), (0.01, WARN), (0.05, BAD)],
                    span=3,
                ),
                number(
                    "Speed",
                    "stenopool:audio_seconds:rate1h",
                    "Seconds of audio transcribed per second, over the last hour: multiples of real time.",
                    unit="suffix: ×",
                    decimals=1,
                    span=3,
                ),
                number(
                    "Cost per hour",
                    "stenopool:cost_dollars:per_hour",
                    "Cost of machines at the rate of the last hour, with the prices in the settings.",
                    unit="currencyUSD",
                    decimals=2,
                    span=3,
                ),
            ],
            "Queues": [
                curves(
                    "Runs in the queues",
                    [("sum by (queue, state) (stenopool_queue_depth) > 0", "{{queue}} {{state}}")],
                    "Runs in Prefect's queues: waiting (due, not yet assigned), pending (machine starting), running.",
                    stacked=True,
                    span=8,
                ),
                curves(
                    "Oldest run in each queue",
                    [("stenopool_queue_oldest_seconds", "{{queue}}")],
                    "How long the oldest run has been due but not running. A line that only rises means that no "
                    "worker takes runs.",
                    unit="s",
                    steps=[(None, GOOD), (900, WARN), (28800, BAD)],
                    span=8,
                ),
                curves(
                    "Workers online",
                    [('stenopool_workers{state="online"}', "{{pool}}")],
                    "Workers of each pool with a recent heartbeat. Alert: no worker while runs are waiting.",
                    stacked=True,
                    span=4,
                ),
                curves(
                    "Last progress",
                    [
                        (
                            "time() - (max(stenopool_last_progress_timestamp_seconds) > 0)",
                            "since a stage ended",
                        ),
                        ("time() - (max(stenopool_last_batch_timestamp_seconds) > 0)", "since a batch ended"),
                    ],
                    "Time since the last stage or shard ended, and since the last batch ended. Alert: an hour while "
                    "runs are waiting.",
                    unit="s",
                    span=4,
                ),
            ],
            "Results": [
                curves(
                    "Recordings per minute",
                    [("60 * sum by (status) (rate(stenopool_recordings_total[$__rate_interval]))", "{{status}}")],
                    "Recordings that ended: done, rendered (more formats of a finished one), quarantined (with a "
                    "reason), deferred (left for the next run).",
                    stacked=True,
                    span=8,
                ),
                ranking(
                    "Why recordings failed, in the selected time range",
                    (
                        'sort_desc(sum by (reason) (increase(stenopool_recordings_total{reason!=""}[$__range])) > 0)',
                        "{{reason}}",
                    ),
                    "Error codes. `stenopool status DESTINATION` lists the recordings; docs/runbooks/failure-ratio.md "
                    "explains each code.",
                    span=8,
                ),
                curves(
                    "Batches",
                    [
                        ("sum(stenopool_batches_running)", "running"),
                        ('sum(increase(stenopool_batches_total{status="complete"}[1h]))', "complete, last hour"),
                        ('sum(increase(stenopool_batches_total{status="incomplete"}[1h]))', "incomplete, last hour"),
                        ('sum(increase(stenopool_batches_total{status="lost"}[1h]))', "lost, last hour"),
                    ],
                    "Batches in progress and ended. Incomplete: recordings are left for the next run. Lost: the run "
                    "ended without a report; the next run does the rest.",
                    span=8,
                ),
            ],
            "Errors": [
                curves(
                    "Transient errors per minute",
                    [
                        (
                            "60 * sum by (stage, reason) "
                            "(rate(stenopool_transient_errors_total[$__rate_interval])) > 0",
                            "{{stage}} {{reason}}",
                        )
                    ],
                    "Errors of storage, memory or device that stages retry. Alert: more than ten storage errors in "
                    "15 minutes.",
                    none="none",
                    bars=True,
                    stacked=True,
                    span=8,
                ),
                curves(
                    "Retries per minute",
                    [("60 * sum by (stage) (rate(stenopool_stage_retries_total[$__rate_interval])) > 0", "{{stage}}")],
                    "Stages that were retried.",
                    none="none",
                    bars=True,
                    stacked=True,
                    span=8,
                ),
                number(
                    "Zombie runs",
                    "sum(stenopool_zombie_runs)",
                    "Runs marked Running whose heartbeat has stopped. Each occupies a slot.",
                    steps=[(None, GOOD), (1, BAD)],
                    span=4,
                ),
                number(
                    "Paused queues",
                    "sum(stenopool_queue_paused)",
                    "Queues that are paused in Prefect.",
                    steps=[(None, GOOD), (1, WARN)],
                    span=4,
                ),
            ],
            "Services": [
                curves(
                    "Dependencies of each program",
                    [("min by (job, dependency) (stenopool_dependency_up)", "{{job}} {{dependency}}")],
                    "1: it responded at the last refresh. 0: no response.",
                    top=1,
                    span=8,
                ),
                curves(
                    "API: requests per second",
                    [("sum by (status) (rate(stenopool_api_requests_total[$__rate_interval]))", "{{status}}")],
                    "Requests by HTTP status. Alert: more than 5 % of 5xx.",
                    unit="reqps",
                    stacked=True,
                    span=8,
                ),
                curves(
                    "API: response time, 95th percentile",
                    [
                        (
                            "histogram_quantile(0.95, sum by (route, le) "
                            "(rate(stenopool_api_request_seconds_bucket[$__rate_interval])))",
                            "{{route}}",
                        )
                    ],
                    "95 % of the requests were answered in less. /v1/audio/transcriptions waits for its transcript.",
                    unit="s",
                    span=8,
                ),
            ],
            "Cluster (kube-state-metrics)": [
                curves(
                    "GPUs: available, in use, pending",
                    [
                        ('sum(kube_node_status_allocatable{resource="nvidia_com_gpu"})', "there"),
                        (
                            'sum(kube_pod_container_resource_requests{resource="nvidia_com_gpu"} * on (namespace, pod) '
                            'group_left () (kube_pod_status_phase{phase="Running"} == 1))',
                            "in use",
                        ),
                        (
                            'sum(kube_pod_container_resource_requests{resource="nvidia_com_gpu"} * on (namespace, pod) '
                            'group_left () (kube_pod_status_phase{phase="Pending"} == 1))',
                            "pending",
                        ),
                    ],
                    "Pending pods add nodes. Alert: pending for 20 minutes, or free for 30.",
                    span=12,
                ),
                curves(
                    "Pods by phase",
                    [
                        (
                            "sum by (phase) (kube_pod_status_phase * on (namespace, pod) group_left () "
                            '(kube_pod_labels{label_app_kubernetes_io_name="stenopool"}))',
                            "{{phase}}",
                        )
                    ],
                    "Stenopool's pods. Needs kube-state-metrics with "
                    "--metric-labels-allowlist=pods=[app.kubernetes.io/name].",
                    stacked=True,
                    span=12,
                ),
            ],
        },
        since="now-6h",
    )
