"""Operations: does it work, what waits, what fails."""

from grafana_foundation_sdk.models import dashboard as models

from monitoring.dashboards.panels import BAD, GOOD, WARN, board, curves, number, ranking

_UP = {0: ("down", BAD), 1: ("works", GOOD)}


def operations() -> models.Dashboard:
    return board(
        "stenopool-operations",
        "Stenopool: operations",
        "Does it work, what waits, what fails. The first row answers in a minute; the alerts' runbooks say what to do.",
        {
            "In one minute": [
                number(
                    "Works",
                    'min(up{job="stenopool-exporter"}) * min(stenopool_dependency_up{job="stenopool-exporter"})',
                    "The exporter answers, and reaches the destination and Prefect's server.",
                    names=_UP,
                    span=3,
                ),
                number(
                    "Alerts",
                    'count(ALERTS{service="stenopool", alertstate="firing"}) or vector(0)',
                    "Alerts that fire. Each names a page of docs/runbooks that says what to look at and what to do.",
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
                    "Oldest waits",
                    "max(stenopool:queue_oldest_seconds:max)",
                    "How long the oldest run has been due. Alerts at 15 minutes if interactive, at 8 hours if a batch.",
                    unit="s",
                    steps=[(None, GOOD), (900, WARN), (28800, BAD)],
                    span=3,
                ),
                number(
                    "Done in 24 h",
                    'sum(increase(stenopool_recordings_total{status="done"}[1d]))',
                    "Recordings that got their transcript.",
                    decimals=0,
                    span=3,
                ),
                number(
                    "Fail",
                    "stenopool:failures:ratio1h",
                    "Share of the recordings of the last hour that have no transcript: put aside, or left for another "
                    "run. Alerts over 5 %.",
                    unit="percentunit",
                    steps=[(None, GOOD), (0.01, WARN), (0.05, BAD)],
                    span=3,
                ),
                number(
                    "Speed",
                    "stenopool:audio_seconds:rate1h",
                    "Seconds of audio transcribed per second, over the last hour: how many times real time.",
                    unit="suffix: ×",
                    decimals=1,
                    span=3,
                ),
                number(
                    "Costs an hour",
                    "stenopool:cost_dollars:per_hour",
                    "What machines cost at the pace of the last hour, at the prices of the settings.",
                    unit="currencyUSD",
                    decimals=2,
                    span=3,
                ),
            ],
            "What waits": [
                curves(
                    "Runs in the queues",
                    [("sum by (queue, state) (stenopool_queue_depth) > 0", "{{queue}} {{state}}")],
                    "Runs of Prefect's queues: waiting (due, taken by nobody), pending (its machine comes), running.",
                    stacked=True,
                    span=8,
                ),
                curves(
                    "Oldest run in each queue",
                    [("stenopool_queue_oldest_seconds", "{{queue}}")],
                    "How long the oldest run has been due and not running. A line that only rises: nothing takes work.",
                    unit="s",
                    steps=[(None, GOOD), (900, WARN), (28800, BAD)],
                    span=8,
                ),
                curves(
                    "Workers that serve",
                    [('stenopool_workers{state="online"}', "{{pool}}")],
                    "Workers of each pool that Prefect has heard of lately. None while work waits is an alert.",
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
                    "Time since a stage or shard, and since a batch, last came to its end. An hour while work waits is "
                    "an alert.",
                    unit="s",
                    span=4,
                ),
            ],
            "What comes out": [
                curves(
                    "Recordings a minute",
                    [("60 * sum by (status) (rate(stenopool_recordings_total[$__rate_interval]))", "{{status}}")],
                    "Recordings that ended: done, rendered (more formats of a finished one), quarantined (put aside, "
                    "with a reason), deferred (left for the next run).",
                    stacked=True,
                    span=8,
                ),
                ranking(
                    "Why recordings failed, in the dashboard's time",
                    (
                        'sort_desc(sum by (reason) (increase(stenopool_recordings_total{reason!=""}[$__range])) > 0)',
                        "{{reason}}",
                    ),
                    "Error codes. `stenopool status DESTINATION` names the recordings, docs/runbooks/failure-ratio.md "
                    "what to do about each code.",
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
                    "Batches under way and over. Incomplete: recordings wait for the next run. Lost: the run ended "
                    "without a report; the next one takes up what it left.",
                    span=8,
                ),
            ],
            "What goes wrong": [
                curves(
                    "Errors of the moment, a minute",
                    [
                        (
                            "60 * sum by (stage, reason) "
                            "(rate(stenopool_transient_errors_total[$__rate_interval])) > 0",
                            "{{stage}} {{reason}}",
                        )
                    ],
                    "Storage, memory, device: what stages try again. Storage errors alert over ten in 15 minutes.",
                    none="none",
                    bars=True,
                    stacked=True,
                    span=8,
                ),
                curves(
                    "Second attempts, a minute",
                    [("60 * sum by (stage) (rate(stenopool_stage_retries_total[$__rate_interval])) > 0", "{{stage}}")],
                    "Stages that were tried again.",
                    none="none",
                    bars=True,
                    stacked=True,
                    span=8,
                ),
                number(
                    "Zombie runs",
                    "sum(stenopool_zombie_runs)",
                    "Runs that are said to be running and whose heartbeat has stopped. Each holds a slot.",
                    steps=[(None, GOOD), (1, BAD)],
                    span=4,
                ),
                number(
                    "Paused queues",
                    "sum(stenopool_queue_paused)",
                    "Queues that somebody has paused in Prefect.",
                    steps=[(None, GOOD), (1, WARN)],
                    span=4,
                ),
            ],
            "Services": [
                curves(
                    "What each program reaches",
                    [("min by (job, dependency) (stenopool_dependency_up)", "{{job}} {{dependency}}")],
                    "1: it answered at the last look. 0: it did not.",
                    top=1,
                    span=8,
                ),
                curves(
                    "API: requests a second",
                    [("sum by (status) (rate(stenopool_api_requests_total[$__rate_interval]))", "{{status}}")],
                    "Requests by HTTP status. More than 5 % of 5xx is an alert.",
                    unit="reqps",
                    stacked=True,
                    span=8,
                ),
                curves(
                    "API: time to the answer, 95 %",
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
                    "GPUs: there, asked for, pending",
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
                    "Pending pods make nodes come. Pending for 20 minutes is an alert, and so is free for 30.",
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
