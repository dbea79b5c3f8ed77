package lab

import (
	"context"
	"net/http"

	"sigs.k8s.io/yaml"
)

// servingName is what certificates of the lab's brokers are for, beside loopback.
const servingName = "ebbtide-broker.ebbtide-system.svc"

// completeBroker has a broker show a certificate of the lab's authority, where its
// configuration gives an address and no certificate. What cannot be read is left to the
// broker to refuse.
func (l *Lab) completeBroker(text []byte, e Env) ([]byte, error) {
	config := map[string]any{}
	err := yaml.Unmarshal(text, &config)
	http, ok := config["http"].(map[string]any)
	if err != nil || !ok || http["certFile"] != nil {
		return text, nil //nolint:nilerr // it is the broker's to say
	}
	pair, err := l.authority.Server(e.Part, servingName)
	if err != nil {
		return nil, err
	}
	for key, file := range map[string][]byte{"certFile": pair.CertPEM, "keyFile": pair.KeyPEM} {
		path, err := l.folder.Write("pki/"+e.Part+"-"+key+".pem", file)
		if err != nil {
			return nil, err
		}
		http[key] = path
	}
	return yaml.Marshal(config)
}

// BrokerClient returns what asks the API of the broker of that name as a user in
// system:masters, and the URL below which it is. The broker's configuration has to bind
// http to Env.Listen("web").
func (l *Lab) BrokerClient(name string) (*http.Client, string, error) {
	address, err := l.address(name + "/web")
	return l.http, "https://" + address, err
}

// AskBroker returns the answer of the broker of that name to a GET, as a user in
// system:masters. Any answer but 200 is an error that shows its beginning.
func (l *Lab) AskBroker(ctx context.Context, name, path string) ([]byte, error) {
	client, base, err := l.BrokerClient(name)
	if err != nil {
		return nil, err
	}
	body, err := fetch(ctx, client, base+path)
	return []byte(body), err
}
