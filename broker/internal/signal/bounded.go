package signal

import (
	"fmt"
	"io"
	"net/http"
)

const (
	// maxReply bounds what a server of metrics may answer to one question, after it was
	// unpacked, and maxSamples how many series that may be.
	maxReply   = 8 << 20
	maxSamples = 50_000
)

// ErrTooLong is what reading a reply ends with that is longer than is read.
var ErrTooLong = fmt.Errorf("the answer is longer than %d MiB; ask for fewer series", maxReply>>20)

// Bounded returns a transport whose replies fail with ErrTooLong after 8 MiB, so that no
// server, however it is asked, makes the broker hold more. It is not for watches, which
// never end.
func Bounded(next http.RoundTripper) http.RoundTripper { return bounded{next} }

type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = &boundedBody{ReadCloser: response.Body, limited: io.LimitedReader{R: response.Body, N: maxReply + 1}}
	return response, nil
}

// boundedBody ends with ErrTooLong where an io.LimitReader would end with io.EOF, which
// would let half an answer pass for a whole one.
type boundedBody struct {
	io.ReadCloser
	limited io.LimitedReader
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.limited.Read(p)
	if b.limited.N <= 0 {
		return n, ErrTooLong
	}
	return n, err
}
