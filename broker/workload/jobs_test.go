package workload_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

// jobs are in words: a line for each, and one for each note.
func jobs(content string, o workload.Options) (said string) {
	all, err := workload.OpenJobs("x", strings.NewReader(content), o)
	if err != nil {
		return err.Error()
	}
	for {
		j, ok, err := all.Next()
		if err != nil {
			return said + err.Error()
		}
		if !ok {
			break
		}
		said += fmt.Sprintf("%s at %s for %s: %dx%d %s", j.Name, j.Submit, j.Duration, j.Pods, j.UnitsPerPod, j.Flavor)
		if j.Queue != j.Tenant+"/default" {
			said += fmt.Sprintf(" to %q", j.Queue)
		}
		for _, extra := range []struct {
			what string
			n    int64
		}{{"least", j.MinPods}, {"priority", int64(j.Priority)}, {"saves", int64(j.CheckpointEvery / time.Second)}} {
			if extra.n != 0 {
				said += fmt.Sprintf(" %s %d", extra.what, extra.n)
			}
		}
		said += "\n"
	}
	for _, n := range all.Notes() {
		said += n + "\n"
	}
	return said
}

const jobHeader = "name,tenant,submit,duration,gpus"

func TestOpenJobs(t *testing.T) {
	const cut = "jobs of more than 8 GPUs are cut into equal pods: the file does not say how they were\n"
	for name, tc := range map[string]struct {
		content string
		options workload.Options
		want    string
	}{
		"the least": {jobHeader + "\na,lab,0,3600,1\nb,lab,60,1h30m,12\nc,shop,60,1,11\n", workload.Options{},
			"lab/a at 0s for 1h0m0s: 1x1 gpu\nlab/b at 1m0s for 1h30m0s: 2x6 gpu\nshop/c at 1m0s for 1s: 11x1 gpu\n" + cut},
		"all columns": {"gpus,pods,min_pods,priority,checkpoint_every,flavor,name,tenant,submit,duration\n8,4,2,-5,15m,h100,ml/a,lab,0,60\n8,,,,,,b,lab,1,60\n",
			workload.Options{Flavor: "a100", Costs: sim.Costs{CheckpointEvery: time.Hour}},
			"ml/a at 0s for 1m0s: 4x2 h100 least 2 priority -5 saves 900\nlab/b at 1s for 1m0s: 1x8 a100 saves 3600\n"},
		"dates": {jobHeader + "\na,lab,2026-03-02T09:00:00Z,60,1\nb,lab,2026-03-02T11:00:00+01:00,60,1\n", workload.Options{},
			"lab/a at 0s for 1m0s: 1x1 gpu\nlab/b at 1h0m0s for 1m0s: 1x1 gpu\n" + cut},
		"dates from another moment on": {jobHeader + "\na,lab,2026-03-02T09:00:00Z,60,1\nb,lab,2026-03-02T11:00:00Z,60,1\n",
			workload.Options{Origin: time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)},
			"lab/b at 1h0m0s for 1m0s: 1x1 gpu\n" + cut + "jobs left out because they were submitted before the beginning: 1\n"},
		"queues": {jobHeader + ",pods,queue\na,lab,0,60,1,1,night\nml/b,lab,1,60,1,1,night\nc,lab,2,60,1,1,ml/day\nd,lab,3,60,1,1,\n", workload.Options{},
			"lab/a at 0s for 1m0s: 1x1 gpu to \"lab/night\"\nml/b at 1s for 1m0s: 1x1 gpu to \"ml/night\"\nlab/c at 2s for 1m0s: 1x1 gpu to \"ml/day\"\nlab/d at 3s for 1m0s: 1x1 gpu\n"},
		"no queue":    {jobHeader + ",pods\na,lab,0,60,1,1\n", workload.Options{Unqueued: true}, "lab/a at 0s for 1m0s: 1x1 gpu to \"\"\n"},
		"no run time": {jobHeader + "\na,lab,0,0,1\n", workload.Options{}, cut + "jobs left out because they ran for no time: 1\n"},
		"pods of four": {jobHeader + "\na,lab,0,60,16\n", workload.Options{PodUnits: 4},
			"lab/a at 0s for 1m0s: 4x4 gpu\njobs of more than 4 GPUs are cut into equal pods: the file does not say how they were\n"},

		"a column that is missing":      {"name,tenant,submit,gpus\na,b,0,1\n", workload.Options{}, "x:1: header has no column duration: want name, tenant, submit, duration, gpus"},
		"a column that is unknown":      {jobHeader + ",user\na,b,0,1,1,me\n", workload.Options{}, `x:1: header has unknown columns ["user"]: want name, tenant, submit, duration, gpus; may have pods, min_pods, priority, checkpoint_every, flavor, queue`},
		"out of order":                  {jobHeader + "\na,lab,60,1,1\nb,lab,0,1,1\n", workload.Options{}, `lab/a at 1m0s for 1s: 1x1 gpu` + "\n" + `x:3: submit is "0", want no earlier than the row before: sort the file by submit`},
		"a name twice":                  {jobHeader + "\na,lab,0,1,1\na,shop,0,1,1\na,lab,0,1,1\n", workload.Options{}, "lab/a at 0s for 1s: 1x1 gpu\nshop/a at 0s for 1s: 1x1 gpu\n" + `x:4: name is "a", want a name that no row before has in its namespace, which is the tenant where none is given`},
		"a name in another's namespace": {jobHeader + "\na,shop,0,1,1\nshop/a,lab,0,1,1\n", workload.Options{}, "shop/a at 0s for 1s: 1x1 gpu\n" + `x:3: name is "shop/a", want a name that no row before has in its namespace, which is the tenant where none is given`},
		"a list without its kind":       {`[{"kind":"Job"}]`, workload.Options{}, "x: is [ where an object begins, want {"},
		"no GPU":                        {jobHeader + "\na,lab,0,1,0\n", workload.Options{}, `x:2: gpus is "0", want a whole number of at least 1`},
		"no duration":                   {jobHeader + "\na,lab,0,,1\n", workload.Options{}, `x:2: duration is "", want seconds, or a duration like 1h30m, of at least 0`},
		"pods that differ":              {jobHeader + ",pods\na,lab,0,1,8,3\n", workload.Options{}, `x:2: pods is "3", want equal pods: a divisor of gpus`},
		"more than all":                 {jobHeader + ",pods,min_pods\na,lab,0,1,8,2,3\n", workload.Options{}, `x:2: min_pods is "3", want at most pods, which must be given`},
		"load":                          {"t_s,m_mid,m_small,deepseek_r1,mm_image\n0,1,1,1,1\n", workload.Options{}, "x: is in the format servegen, which has no jobs: want columns name, tenant, submit, duration, gpus, sacct, kubectl, itp, gfs, openb-pods"},
		"nothing":                       {"", workload.Options{}, "x: read header: the file is empty"},
		"itp out of order":              {"submit_s,duration_s,num_gpu,cluster\n5,1,1,a\n4,1,1,a\n", workload.Options{}, "a/itp-000001 at 5s for 1s: 1x1 gpu\n" + `x:3: submit_s is "4", want no less than the row before`},
		"gfs of another type":           {"job_name,organization,gpu_model,cpu_request,gpu_request,worker_num,submit_time,duration,job_type\na,b,c,1,1,1,0,1,LP\n", workload.Options{}, `x:2: job_type is "LP", want HP or Spot`},
		"gfs with too many":             {"job_name,organization,gpu_model,cpu_request,gpu_request,worker_num,submit_time,duration,job_type\na,b,c,1,1000000,1000000,0,1,HP\n", workload.Options{}, "job b/a: has 1000000000000 GPUs, must have at most 1000000"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := jobs(tc.content, tc.options); got != tc.want {
				t.Errorf("%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func TestOpenJobsOfRecordings(t *testing.T) {
	for file, want := range map[string]string{
		"itp.csv": "cluster07/itp-000001 at 10s for 1h0m0s: 8x8 gpu\ncluster03/itp-000002 at 20s for 1m0s: 1x1 gpu\ncluster03/itp-000003 at 20s for 1m0s: 2x6 gpu\n" +
			"jobs of more than 8 GPUs are cut into equal pods: the recording does not say how they were\n",
		"gfs.csv": "lab/a at 0s for 1h0m0s: 4x8 A100-SXM4-80GB priority 100\nlab/b at 1m0s for 10m0s: 1x1 A10\n" +
			"gpu_request is read as the GPUs of one worker\njobs left out because they asked for no GPU: 1\n",
		"openb_pods.csv": "openb/pod-2 at 15m0s for 28m20s: 1x1 gpu\nopenb/pod-3 at 20m0s for 58m20s: 1x8 gpu\n" +
			"pods of other classes than BE are no jobs\npods with a part of a GPU, counted as if they had it whole: 1\n" +
			"pods left out because they never ran: 1\njobs left out because they asked for no GPU: 1\n",
	} {
		content, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		if got := jobs(string(content), workload.Options{}); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
		}
	}
}

// However a job is cut, it has its GPUs, no pod has more than it may, and no cut with
// fewer pods would do.
func TestCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units, most := rapid.Int64Range(1, 10_000).Draw(t, "units"), rapid.Int64Range(1, 16).Draw(t, "most")
		pods, each := gang.Cut(units, most)
		if pods*each != units || each > most || each < 1 {
			t.Fatalf("%d of at most %d are %dx%d", units, most, pods, each)
		}
		for larger := each + 1; larger <= most; larger++ {
			if units%larger == 0 {
				t.Fatalf("%d of at most %d are %dx%d, and could be pods of %d", units, most, pods, each, larger)
			}
		}
	})
}

func TestReadNodes(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"the least":           {"name,gpus\nb,8\na,4\n", "a [{gpu 4}] ;b [{gpu 8}] ;"},
		"homes and flavors":   {"home,flavor,gpus,name\nserving/chat,h100,8,n\nserving/chat,mig-1g.10gb,7,n\n,a100,2,m\n", "m [{a100 2}] ;n [{h100 8} {mig-1g.10gb 7}] serving/chat;"},
		"openb":               {"sn,cpu_milli,memory_mib,gpu,model\nn,64000,262144,2,P100\n", "n [{P100 2}] ;"},
		"a node twice":        {"name,gpus\na,8\na,8\n", `x:3: name is "a", want a node that no row before has in this flavor`},
		"two homes":           {"name,gpus,flavor,home\na,8,x,s\na,8,y,t\n", `x:3: home is "t", want that of the node's row before`},
		"no name":             {"name,gpus\n,8\n", `x:2: name is "", want a name`},
		"a part":              {"name,gpus\na,0.5\n", `x:2: gpus is "0.5", want a whole number of at least 0`},
		"a column not known":  {"name,gpus,zone\na,8,z\n", `x:1: header has unknown columns ["zone"]: want name, gpus; may have flavor, home`},
		"jobs":                {"submit_s,duration_s,num_gpu,cluster\n1,2,3,a\n", "x: is in the format itp, which has no nodes: want columns name, gpus, openb-nodes"},
		"nothing but columns": {"name,gpus\n", "x: no rows after the header"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, err := workload.ReadNodes("x", strings.NewReader(tc.content))
			got := ""
			for _, n := range nodes {
				got += fmt.Sprintf("%s %v %s;", n.Name, n.Units, n.Home)
			}
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func FuzzOpenJobs(f *testing.F) {
	f.Add(jobHeader + "\na,lab,0,3600,1\nb,lab,60,1h30m,12\n")
	f.Add("submit_s,duration_s,num_gpu,cluster\n5,1,1,a\n")
	f.Add("JobID|Account|Submit|Elapsed|State|AllocTRES\n1|a|2026-03-02T09:00:00|00:10:00|REQUEUED|gres/gpu=1,node=1\n1|a|2026-03-02T09:00:00|00:10:00|COMPLETED|gres/gpu=1\n")
	f.Add(`{"items":[{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","namespace":"b","creationTimestamp":"2026-03-02T09:00:00Z"},"spec":{"parallelism":2,"template":{"spec":{"containers":[{"resources":{"limits":{"nvidia.com/gpu":"1"}}}]}}},"status":{"startTime":"2026-03-02T09:00:00Z"}}]}`)
	for _, file := range []string{"gfs.csv", "openb_pods.csv", "../exported/testdata/workloads.json", "../exported/testdata/vcjobs.json", "../exported/testdata/podgroups.json", "../exported/testdata/sacct.txt"} {
		content, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(content))
	}
	f.Fuzz(func(t *testing.T, content string) {
		all, err := workload.OpenJobs("x", strings.NewReader(content), workload.Options{})
		if err != nil {
			return
		}
		for last := time.Duration(0); ; {
			j, ok, err := all.Next()
			if err != nil || !ok {
				return
			}
			if j.Submit < last || j.Duration <= 0 || j.Pods < 1 || j.UnitsPerPod < 1 || j.MinPods < 0 || j.MinPods > j.Pods || j.Name == "" {
				t.Fatalf("%+v after %s", j, last)
			}
			last = j.Submit
		}
	})
}

func FuzzReadNodes(f *testing.F) {
	f.Add("name,gpus\nb,8\na,4\n")
	f.Add("home,flavor,gpus,name\nserving/chat,h100,8,n\n")
	f.Add("sn,cpu_milli,memory_mib,gpu,model\nn,64000,262144,2,P100\n")
	f.Fuzz(func(t *testing.T, content string) {
		nodes, err := workload.ReadNodes("x", strings.NewReader(content))
		if (err == nil) == (len(nodes) == 0) {
			t.Fatalf("%d nodes, and error %v", len(nodes), err)
		}
		for i, n := range nodes {
			if n.Name == "" || i > 0 && nodes[i-1].Name >= n.Name || len(n.Units) == 0 {
				t.Fatalf("%+v", nodes)
			}
		}
	})
}
