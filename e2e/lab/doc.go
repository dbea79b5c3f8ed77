// Package lab starts and stops a real Kubernetes control plane on loopback, for
// tests and for a laptop: etcd, kube-apiserver, kube-controller-manager, kwok and
// Prometheus, and with them ebbtide-scheduler and ebbtide-broker. It needs no
// root, no container engine and no network.
//
// It promises:
//   - Everything runs over TLS with an authority of its own and RBAC switched on;
//     each Ebbtide binary runs as its own service account, with the rights that
//     the caller's manifests give it and no others.
//   - Every part is a process of its own that can be killed, frozen, thawed,
//     stopped and restarted. A part that ends unasked is an error of the lab.
//   - Nothing is left running when the process that started the lab ends, not even
//     when it ends by SIGKILL.
//   - Ports are free ones of loopback and stay a part's own across restarts. The
//     lab's folder is removed when it stops, unless something went wrong: then it
//     is kept, with each part's log, and its path is printed.
//
// Simulated are only the machines: kwok keeps the nodes alive and starts the pods,
// and package kubelet gives them load times, grace periods and exit codes (see the
// annotations there). Containers are never run.
//
// It refuses to run anything against a cluster it did not start.
package lab
