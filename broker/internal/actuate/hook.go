package actuate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/turns"
)

const (
	// hookTimeout bounds one call.
	hookTimeout = 2 * time.Second
	// mostHooks bounds the calls that run at once, and mostOfOne those to pods of one
	// namespace; a pod beyond them is not called.
	mostHooks = 64
	mostOfOne = 16
	// mostHeader bounds what is read of an answer.
	mostHeader = 4 << 10
)

// Hooks tell pods about a reclaim by HTTP, at the port and path that the pod's
// annotation names.
//
// A pod can send a call nowhere but to its own address: no host is read from the
// annotation, a redirect is not followed, and a pod with the node's own network is not
// called. What a pod answers is not read. Calls never hold up a reclaim. The zero
// Hooks is ready to use.
type Hooks struct {
	once   sync.Once
	client *http.Client
	calls  sync.WaitGroup
	busy   *turns.Turns // by namespace
}

// Notice is the body of a call.
type Notice struct {
	// ReclaimBy is when what still runs is killed.
	ReclaimBy time.Time `json:"reclaimBy"`
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
}

func (h *Hooks) init() {
	h.once.Do(func() {
		h.busy = turns.New(mostHooks, mostOfOne)
		h.client = &http.Client{
			Timeout:       hookTimeout,
			Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil, MaxResponseHeaderBytes: mostHeader},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	})
}

// Call tells the pod, if it wants to be told, and returns at once. What goes wrong is
// logged.
func (h *Hooks) Call(ctx context.Context, pod *corev1.Pod, by time.Time) {
	at := pod.Annotations[v1alpha1.AnnotationReclaimHook]
	if h == nil || at == "" {
		return
	}
	h.init()
	log := logr.FromContextOrDiscard(ctx).WithValues("pod", pod.Namespace+"/"+pod.Name)
	url, err := hookURL(pod, at)
	if err != nil {
		log.Info("The pod cannot be called about the reclaim", "reason", err.Error())
		return
	}
	if !h.busy.Enter(pod.Namespace) {
		log.Info("The pod is not called about the reclaim: too many calls are under way")
		return
	}
	body, _ := json.Marshal(Notice{by.UTC(), pod.Namespace, pod.Name}) // a time and two names always have JSON
	// The round that asks for units back is over before a pod has answered.
	ctx = context.WithoutCancel(ctx)
	h.calls.Go(func() {
		defer h.busy.Leave(pod.Namespace)
		if err := h.post(ctx, url, body); err != nil {
			log.Info("The pod was not told about the reclaim", "reason", err.Error())
		}
	})
}

// Wait returns when no call is under way.
func (h *Hooks) Wait() { h.calls.Wait() }

func (h *Hooks) post(ctx context.Context, url string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := h.client.Do(request)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 1<<10) // a courtesy to the pod's server
	_ = answer.Body.Close()
	if answer.StatusCode >= 300 {
		return fmt.Errorf("the pod answered with status %d", answer.StatusCode)
	}
	return nil
}

// hookURL is where the pod is called.
func hookURL(pod *corev1.Pod, at string) (string, error) {
	port, path, found := strings.Cut(strings.TrimPrefix(at, ":"), "/")
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case !strings.HasPrefix(at, ":") || !found || err != nil || n == 0 || strings.ContainsAny(path, " \t\r\n#?"):
		return "", fmt.Errorf("metadata.annotations[%s]: %q must be :PORT/PATH", v1alpha1.AnnotationReclaimHook, at)
	case pod.Spec.HostNetwork:
		return "", errors.New("spec.hostNetwork: the pod has no address of its own")
	case net.ParseIP(pod.Status.PodIP) == nil:
		return "", errors.New("status.podIP: the pod has no address yet")
	}
	return "http://" + net.JoinHostPort(pod.Status.PodIP, strconv.FormatUint(n, 10)) + "/" + path, nil
}
