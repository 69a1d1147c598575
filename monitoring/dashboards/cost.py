"""Cost: what it costs, what for, and what is wasted."""

from grafana_foundation_sdk.models import dashboard as models

from monitoring.dashboards.panels import BAD, GOOD, NEUTRAL, WARN, board, curves, number


def cost() -> models.Dashboard:
    return board(
        "stenopool-cost",
        "Stenopool: cost",
        "What it costs, what for, and what is wasted. Prices are STENOPOOL_PRICES__GPU_HOUR and __CPU_HOUR, the budget "
        "is in the settings too; machines are counted while runs hold them, so empty nodes come on top.",
        {
            "Now": [
                number(
                    "Last 24 hours",
                    "stenopool:cost_dollars:increase1d",
                    "What runs cost.",
                    unit="currencyUSD",
                    decimals=2,
                ),
                number(
                    "Of the daily budget",
                    "stenopool:budget_used:ratio1d",
                    "What the last 24 hours took of what a day may cost. Alerts over 100 % and over 150 %.",
                    unit="percentunit",
                    steps=[(None, GOOD), (0.8, WARN), (1, BAD)],
                ),
                number(
                    "An hour, at this pace",
                    "stenopool:cost_dollars:per_hour",
                    "The pace of the last hour.",
                    unit="currencyUSD",
                    decimals=2,
                ),
                number(
                    "An hour of audio",
                    "stenopool:cost_dollars_per_audio_hour:ratio1d",
                    "What an hour of transcribed audio cost, over the last 24 hours.",
                    unit="currencyUSD",
                    decimals=4,
                ),
                number(
                    "Wasted on idle GPUs",
                    "stenopool:idle_dollars:increase1d",
                    "What transcribing machines cost in the last 24 hours while their device did nothing.",
                    unit="currencyUSD",
                    decimals=2,
                    steps=[(None, GOOD), (1, WARN), (20, BAD)],
                ),
                number(
                    "Audio, last 24 hours",
                    "sum(increase(stenopool_audio_seconds_total[1d]))",
                    "Audio transcribed.",
                    unit="s",
                ),
            ],
            "Over time": [
                curves(
                    "Cost per hour",
                    [
                        ("3600 * sum(rate(stenopool_cost_dollars_total[$__rate_interval]))", "now"),
                        ("stenopool:cost_dollars:per_hour", "last hour"),
                    ],
                    "What an hour costs at the pace of the moment, and of the last hour.",
                    unit="currencyUSD",
                ),
                curves(
                    "Last 24 hours, and the budget",
                    [
                        ("stenopool:cost_dollars:increase1d", "cost"),
                        ("max(stenopool_daily_budget_dollars)", "budget"),
                    ],
                    "Crossing the budget is an alert. No line: no budget is set.",
                    unit="currencyUSD",
                ),
                curves(
                    "An hour of audio",
                    [("stenopool:cost_dollars_per_audio_hour:ratio1d", "last 24 hours")],
                    "A rise at the same prices: smaller shards, more idle time, more work done twice, another model.",
                    unit="currencyUSD",
                ),
                curves(
                    "Hours of machines, each hour",
                    [
                        ("sum by (kind) (rate(stenopool_gpu_seconds_total[1h]))", "gpu {{kind}}"),
                        ("sum(rate(stenopool_cpu_seconds_total[1h]))", "cpu"),
                    ],
                    "Machines held by transcribe runs (by what the device did) and by prepare runs.",
                    stacked=True,
                ),
            ],
            "Of the whole": [
                curves(
                    "Share of the transcribing machines' time that brought nothing",
                    [
                        ('stenopool:gpu_seconds:share1h{kind="idle"}', "idle"),
                        ('stenopool:gpu_seconds:share1h{kind="load"}', "load"),
                    ],
                    "Idle over 40 % for a quarter of an hour is an alert; docs/autoscaling.md says what to do.",
                    unit="percentunit",
                    steps=[(None, NEUTRAL), (0.4, BAD)],
                    top=1,
                ),
                curves(
                    "GPUs without a pod (kube-state-metrics)",
                    [
                        (
                            'sum(kube_node_status_allocatable{resource="nvidia_com_gpu"}) - (sum('
                            'kube_pod_container_resource_requests{resource="nvidia_com_gpu"} * on (namespace, pod) '
                            'group_left () (kube_pod_status_phase{phase=~"Pending|Running"} == 1)) or on () vector(0))',
                            "without a pod",
                        )
                    ],
                    "Paid for, and not in the figures above, which count runs. An empty node goes after five minutes.",
                    steps=[(None, GOOD), (1, WARN)],
                ),
            ],
        },
        since="now-7d",
    )
