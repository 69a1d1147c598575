"""The dashboard "performance": speed, stages, machines."""

from grafana_foundation_sdk.models import dashboard as models

from monitoring.dashboards.panels import BAD, GOOD, WARN, board, curves, number, ranking


def performance() -> models.Dashboard:
    return board(
        "stenopool-performance",
        "Stenopool: performance",
        "Speed, time per stage, and utilization of machines.",
        {
            "Speed": [
                number(
                    "Overall speed",
                    "stenopool:audio_seconds:rate1h",
                    "Seconds of audio transcribed per second, over the last hour.",
                    unit="suffix: ×",
                    decimals=1,
                ),
                number(
                    "Speed per GPU",
                    "stenopool:audio_seconds_per_gpu_second:ratio1h",
                    "Seconds of audio per second that a transcribing machine (with or without a GPU) was in use: the "
                    "gain from one more machine.",
                    unit="suffix: ×",
                    decimals=1,
                ),
                number(
                    "Last batch",
                    'stenopool_realtime_factor{stage="batch"}',
                    "Seconds of audio per second of wall time in the last batch that transcribed any, from its report.",
                    unit="suffix: ×",
                    decimals=1,
                ),
                number(
                    "GPUs busy",
                    'stenopool:gpu_seconds:share1h{kind="busy"}',
                    "Share of the transcribing machines' time in which the device was computing.",
                    unit="percentunit",
                    steps=[(None, BAD), (0.4, WARN), (0.7, GOOD)],
                ),
                number(
                    "Loading models",
                    'stenopool:gpu_seconds:share1h{kind="load"}',
                    "Share of their time spent loading models. Longer shards reduce it.",
                    unit="percentunit",
                    steps=[(None, GOOD), (0.1, WARN), (0.25, BAD)],
                ),
                number(
                    "Model load time",
                    "histogram_quantile(0.95, sum by (le) (rate(stenopool_model_load_seconds_bucket[6h])))",
                    "95 % of the runs of the last six hours loaded their models in less.",
                    unit="s",
                    steps=[(None, GOOD), (60, WARN), (180, BAD)],
                ),
            ],
            "Over time": [
                curves(
                    "Audio transcribed per second, by engine and model",
                    [
                        (
                            "sum by (engine, model) (rate(stenopool_audio_seconds_total[$__rate_interval]))",
                            "{{engine}} {{model}}",
                        )
                    ],
                    "Multiples of real time. Work is counted when stages and shards end, so short windows show steps.",
                    unit="suffix: ×",
                    stacked=True,
                ),
                curves(
                    "Utilization of transcribing machines",
                    [("sum by (kind) (rate(stenopool_gpu_seconds_total[$__rate_interval]))", "{{kind}}")],
                    "Machines that were busy, loading or idle; the sum is the number in use. You pay for all three.",
                    stacked=True,
                ),
            ],
            "Stages": [
                ranking(
                    "Speed of each stage, last batch",
                    ('sort_desc(stenopool_realtime_factor{stage!="batch"})', "{{stage}}"),
                    "Seconds of audio per second that the stage took, in the last batch that transcribed any. The "
                    "slowest stage is the one to optimize; all stages share the machine.",
                    unit="suffix: ×",
                    span=8,
                ),
                curves(
                    "Where the time goes",
                    [("sum by (stage) (rate(stenopool_stage_seconds_sum[$__rate_interval]))", "{{stage}}")],
                    "Seconds per second spent in each stage. Stages overlap: uploads and downloads run in parallel "
                    "with speech work.",
                    stacked=True,
                    span=8,
                ),
                curves(
                    "Duration of a batch in a stage, 95th percentile",
                    [("stenopool:stage_seconds:p95_1h", "{{stage}}")],
                    "95 % of the batches of the last hour took less. A batch is up to STENOPOOL_BATCH__BATCH_SECONDS "
                    "of audio, 20 minutes unless set otherwise.",
                    unit="s",
                    span=8,
                ),
            ],
            "Saved work and suspect text": [
                curves(
                    "Work reused from checkpoints, recordings per minute",
                    [
                        (
                            "60 * sum by (stage) (rate(stenopool_checkpoint_hits_total[$__rate_interval])) > 0",
                            "{{stage}}",
                        )
                    ],
                    "Recordings whose stage an earlier, interrupted run had finished.",
                    none="none",
                    bars=True,
                    stacked=True,
                ),
                curves(
                    "Flags of transcripts per minute",
                    [
                        (
                            "60 * sum by (flag) (rate(stenopool_transcript_flags_total[$__rate_interval])) > 0",
                            "{{flag}}",
                        )
                    ],
                    "Suspect text is flagged and kept. A sudden rise means another kind of audio, or a model that "
                    "does not fit it.",
                    none="none",
                    bars=True,
                    stacked=True,
                ),
            ],
            "GPUs (DCGM exporter) and machines (node exporter)": [
                curves(
                    "GPU utilization",
                    [("DCGM_FI_DEV_GPU_UTIL / 100", "{{Hostname}} {{gpu}}")],
                    "Share of the time in which a kernel ran, as NVIDIA counts it: a high value means busy, not "
                    "efficient.",
                    unit="percentunit",
                    top=1,
                    span=8,
                ),
                curves(
                    "GPU memory",
                    [
                        (
                            "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)",
                            "{{Hostname}} {{gpu}}",
                        )
                    ],
                    "Share of GPU memory in use. Near 1, a batch may not fit; it is then halved and continues.",
                    unit="percentunit",
                    steps=[(None, GOOD), (0.95, WARN)],
                    top=1,
                    span=8,
                ),
                curves(
                    "CPU",
                    [
                        (
                            '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))',
                            "{{instance}}",
                        )
                    ],
                    "Share of the machines' cores in use. A GPU that is idle while the CPU is full is waiting for "
                    "audio.",
                    unit="percentunit",
                    top=1,
                    span=8,
                ),
            ],
        },
        since="now-6h",
    )
