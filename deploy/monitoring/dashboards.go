package monitoring

// Units as Grafana names them.
const (
	count   = "none"
	seconds = "s"
	share   = "percentunit"
	rate    = "ops"
)

// Dashboards are those that are shipped.
func Dashboards() []Dashboard { return []Dashboard{overview, lender, tenants, operations} }

var overview = Dashboard{
	File: "overview", Title: "Overview", Description: "Whose the units are, what was gained, and how units come back.",
	Choices: []Choice{{Name: "flavor", Label: "flavor", Metric: "ebbtide_broker_units"}},
	Rows: []Row{
		{5, []Panel{
			{"stat", "GPU-hours lent", "Units that were on loan in the last 24 hours, times hours.", count, false, []Query{
				{`sum(increase(ebbtide_broker_lent_unit_seconds_total{flavor=~"$flavor"}[24h])) / 3600`, "last 24 h"},
			}},
			{"stat", "Idle units on loan", "Of the units that services own and do not hold, the share that is on loan now.", share, false, []Query{
				{`ebbtide:idle_used:ratio`, "now"},
			}},
			{"stat", "Slowest return in a hundred", "99 of 100 reclaims of the last hour were over in this time.", seconds, false, []Query{
				{`ebbtide:reclaim_seconds:p99_1h`, "p99"},
			}},
			{"stat", "Jobs that wait", "Jobs in queues that could be admitted, and are not.", count, false, []Query{
				{`sum(max by (queue_namespace, queue) (ebbtide_queue_waiting_jobs))`, "jobs"},
			}},
			{"stat", "Alerts", "Alerts of Ebbtide that fire. None is no number.", count, false, []Query{
				{`count(ALERTS{alertname=~"Ebbtide.*",alertstate="firing"})`, "firing"},
			}},
		}},
		{9, []Panel{
			{"timeseries", "Whose the units are", "All units of the nodes: own (services, training on its own quota, other pods), lent, free, broken.", count, true, []Query{
				{`sum by (state) (max by (flavor, state) (ebbtide_broker_units{flavor=~"$flavor"}))`, "{{state}}"},
			}},
			{"timeseries", "GPU-hours lent in an hour", "Units on loan times hours, of the hour before each point.", count, true, []Query{
				{`ebbtide:lent_gpu_hours:increase1h{flavor=~"$flavor"}`, "{{flavor}}"},
			}},
		}},
		{9, []Panel{
			{"timeseries", "How long units take to come back", "From asking for a loan's units to the proof that they are free.", seconds, false, []Query{
				{`histogram_quantile(0.5, sum by (le) (rate(ebbtide_broker_reclaim_seconds_bucket[1h])))`, "half of them"},
				{`ebbtide:reclaim_seconds:p99_1h`, "99 of 100"},
			}},
			{"timeseries", "Loans asked back, by reason", "How many loans, or parts, were asked back in the hour before each point.", count, true, []Query{
				{`sum by (reason) (increase(ebbtide_broker_reclaims_total[1h])) > 0`, "{{reason}}"},
			}},
		}},
	},
}

var lender = Dashboard{
	File: "lender", Title: "Lender", Description: "One service: its load with the water marks, above what it has lent.",
	Choices: []Choice{{Name: "lender", Label: "lender", Metric: "ebbtide_broker_owned_units", One: true}},
	Rows: []Row{
		{9, []Panel{{"timeseries", "Load", "Requests in flight over the slots of all owned units. Below the low water units are lent, above the high water they are taken back. Gaps: not known.", share, false, []Query{
			{`max(ebbtide_broker_load_ratio{lender="$lender"})`, "load"},
			{`max(ebbtide_broker_low_water_ratio{lender="$lender"})`, "low water"},
			{`max(ebbtide_broker_high_water_ratio{lender="$lender"})`, "high water"},
		}}}},
		{6, []Panel{{"state-timeline", "Loans", "Units on loan, and of these the ones that are asked back.", count, false, []Query{
			{`max(ebbtide_broker_lent_units{lender="$lender"})`, "on loan"},
			{`max(ebbtide_broker_reclaiming_units{lender="$lender"})`, "asked back"},
		}}}},
		{6, []Panel{{"state-timeline", "Why", "The reason of each decision about the service.", count, false, []Query{
			{`max by (reason) (ebbtide_broker_lender_verdict{lender="$lender"})`, "{{reason}}"},
		}}}},
		{9, []Panel{
			{"timeseries", "The arithmetic", "Lendable is owned less need, headroom and what is lent already.", count, false, []Query{
				{`max(ebbtide_broker_owned_units{lender="$lender"})`, "owned"},
				{`max(ebbtide_broker_held_units{lender="$lender"})`, "held by its pods"},
				{`max(ebbtide_broker_need_units{lender="$lender"})`, "need"},
				{`max(ebbtide_broker_headroom_units{lender="$lender"})`, "headroom"},
				{`max(ebbtide_broker_lendable_units{lender="$lender"})`, "lendable"},
			}},
			{"timeseries", "Age of the load", "Age of the oldest sample. From 45 seconds on the load is unknown.", seconds, false, []Query{
				{`max(ebbtide_broker_signal_age_seconds{lender="$lender"})`, "age"},
			}},
			{"timeseries", "Notice", "From asking units back to a replica that serves on them, as learned.", seconds, false, []Query{
				{`max(ebbtide_broker_notice_seconds{lender="$lender"})`, "notice"},
			}},
		}},
	},
}

var tenants = Dashboard{
	File: "tenants", Title: "Tenants", Description: "What each tenant has, has lent and borrowed, and what waits in its queues.",
	Choices: []Choice{
		{Name: "tenant", Label: "tenant", Metric: "ebbtide_broker_quota_units"},
		{Name: "flavor", Label: "flavor", Metric: "ebbtide_broker_quota_units"},
		{Name: "namespace", Label: "queue_namespace", Metric: "ebbtide_queue_waiting_jobs"},
	},
	Rows: []Row{
		{9, []Panel{
			{"timeseries", "Used and nominal", "Units that the tenant uses, and its nominal quota.", count, false, []Query{
				{`sum by (tenant) (max by (tenant, flavor) (ebbtide_broker_quota_units{tenant=~"$tenant",flavor=~"$flavor",state="used"}))`, "{{tenant}} uses"},
				{`sum by (tenant) (max by (tenant, flavor) (ebbtide_broker_quota_units{tenant=~"$tenant",flavor=~"$flavor",state="nominal"}))`, "{{tenant}} nominal"},
			}},
			{"timeseries", "What it may have in addition", "Units that the tenant could have now without taking anything back.", count, false, []Query{
				{`sum by (tenant) (max by (tenant, flavor) (ebbtide_broker_quota_units{tenant=~"$tenant",flavor=~"$flavor",state="available"}))`, "{{tenant}}"},
			}},
		}},
		{9, []Panel{
			{"timeseries", "Lent", "Units of the tenant, of its services or its unused quota, that jobs of others hold.", count, true, []Query{
				{`sum by (tenant) (max by (tenant, flavor) (ebbtide_broker_quota_units{tenant=~"$tenant",flavor=~"$flavor",state="lent"}))`, "{{tenant}}"},
			}},
			{"timeseries", "Borrowed", "Units of others that the tenant's jobs hold.", count, true, []Query{
				{`sum by (tenant) (max by (tenant, flavor) (ebbtide_broker_quota_units{tenant=~"$tenant",flavor=~"$flavor",state="borrowed"}))`, "{{tenant}}"},
			}},
		}},
		{9, []Panel{
			{"timeseries", "Units that jobs wait for", "Units that jobs in queues ask for, and could be admitted with.", count, true, []Query{
				{`sum by (queue_namespace, queue) (max by (queue_namespace, queue, flavor) (ebbtide_queue_waiting_units{queue_namespace=~"$namespace",flavor=~"$flavor"}))`, "{{queue_namespace}}/{{queue}}"},
			}},
			{"timeseries", "Jobs that wait", "Jobs in queues that could be admitted, and are not.", count, true, []Query{
				{`max by (queue_namespace, queue) (ebbtide_queue_waiting_jobs{queue_namespace=~"$namespace"})`, "{{queue_namespace}}/{{queue}}"},
			}},
			{"timeseries", "Loans by state", "Units that jobs hold beyond their tenant's nominal quota.", count, true, []Query{
				{`sum by (queue_namespace, state) (max by (queue_namespace, flavor, state) (ebbtide_loan_units{queue_namespace=~"$namespace",flavor=~"$flavor"}))`, "{{queue_namespace}} {{state}}"},
			}},
		}},
	},
}

var operations = Dashboard{
	File: "operations", Title: "Operations", Description: "Whether the broker, the scheduler and the agents do their work, and the laws hold.",
	Choices: []Choice{{Name: "job", Label: "job", Metric: "ebbtide_broker_decisions_total"}},
	Rows: []Row{
		{5, []Panel{
			{"stat", "Laws broken", "Decisions of the last 24 hours whose snapshot broke an invariant. It must stay 0.", count, false, []Query{
				{`sum(increase(ebbtide_broker_law_violations_total[24h]))`, "times"},
			}},
			{"stat", "Loans past their deadline", "Loans whose time is over, and which still have pods.", count, false, []Query{{`max(ebbtide_broker_overdue_loans)`, "loans"}}},
			{"stat", "Units in quarantine", "Units that nobody has, because pods do not go.", count, false, []Query{{`sum(max by (flavor) (ebbtide_broker_quarantined_units))`, "units"}}},
			{"stat", "Faults in the ledger", "Found when all of it was looked through. Nothing new is lent unless it is 0.", count, false, []Query{{`max(ebbtide_ledger_faults)`, "faults"}}},
			{"stat", "Admission policies missing", "Gone, or not as shipped. Nothing new is lent unless it is 0.", count, false, []Query{{`max(ebbtide_broker_admission_policies_missing)`, "policies"}}},
			{"stat", "Jobs that go round", "Jobs that are admitted and taken back again and again.", count, false, []Query{{`max(ebbtide_broker_cycling_jobs)`, "jobs"}}},
		}},
		{9, []Panel{
			{"timeseries", "Time of a decision", "From reading the cluster to the last write.", seconds, false, []Query{
				{`histogram_quantile(0.5, sum by (le) (rate(ebbtide_broker_decision_seconds_bucket{job=~"$job"}[5m])))`, "half of them"},
				{`histogram_quantile(0.99, sum by (le) (rate(ebbtide_broker_decision_seconds_bucket{job=~"$job"}[5m])))`, "99 of 100"},
			}},
			{"timeseries", "Decisions by outcome", "done; incomplete: a step failed and is repeated; blind: the cluster could not be read.", rate, true, []Query{
				{`sum by (outcome) (rate(ebbtide_broker_decisions_total{job=~"$job"}[5m]))`, "{{outcome}}"},
			}},
			{"timeseries", "Errors of the API server", "Requests of the broker that were answered with an error, by code. Conflicts (409) are the course of things.", rate, true, []Query{
				{`sum by (code, method) (rate(rest_client_requests_total{job=~"$job",code!~"2.."}[5m]))`, "{{method}} {{code}}"},
			}},
		}},
		{9, []Panel{
			{"timeseries", "Entries of the ledger", "How many are written in a second, and up to where a follower has them.", rate, false, []Query{
				{`max(rate(ebbtide_ledger_head_sequence[5m]))`, "written"},
				{`max(rate(ebbtide_ledger_durable_sequence[5m]))`, "acknowledged by a follower"},
			}},
			{"timeseries", "Steps of a reclaim", "99 of 100 were told, stopped or killed in this time after they were asked.", seconds, false, []Query{
				{`histogram_quantile(0.99, sum by (step, le) (rate(ebbtide_broker_reclaim_step_seconds_bucket[1h])))`, "{{step}}"},
			}},
			{"timeseries", "Taken back by the scheduler", "Loans that the scheduler took back by itself, and pods that it told to stop, in the hour before.", count, false, []Query{
				{`sum(increase(ebbtide_scheduler_takebacks_total[1h]))`, "loans"},
				{`sum(increase(ebbtide_scheduler_evicted_pods_total[1h]))`, "pods"},
			}},
		}},
		{9, []Panel{
			{"timeseries", "Changes of GPUs' layouts", "Those in force, by state.", count, true, []Query{{`max by (state) (ebbtide_broker_reshapes)`, "{{state}}"}}},
			{"timeseries", "Errors of the GPUs' driver", "Calls of the agents' drivers that failed, by call.", rate, true, []Query{{`sum by (call) (rate(ebbtide_agent_driver_errors_total[5m]))`, "{{call}}"}}},
			{"timeseries", "GPUs of other schedulers", "Units that pods ask for through other schedulers: they may be used twice.", count, true, []Query{
				{`max by (resource, bound) (ebbtide_broker_other_scheduler_units)`, "{{resource}}, on a node: {{bound}}"},
			}},
		}},
	},
}
