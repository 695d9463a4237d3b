// 50 requests on one connection, then 20 at once, with Go's net/http: $2 says which version. Prints how many were answered.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

func main() {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: os.Args[2] == "h2", MaxIdleConnsPerHost: 20}
	if os.Args[2] != "h2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client := &http.Client{Transport: transport}
	ask := func(n int) int {
		request, _ := http.NewRequest("GET", fmt.Sprintf("%s/%d", os.Args[1], n), nil)
		request.Header.Set("Authorization", "Bearer "+os.Getenv("TOOL_API_KEY"))
		response, err := client.Do(request)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 0
		}
		defer response.Body.Close()
		io.Copy(io.Discard, response.Body)
		if response.StatusCode != 200 {
			return 0
		}
		return 1
	}
	answered := 0
	for n := 0; n < 50; n++ {
		answered += ask(n)
	}
	var group sync.WaitGroup
	results := make(chan int, 20)
	for n := 50; n < 70; n++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			results <- ask(n)
		}(n)
	}
	group.Wait()
	close(results)
	for one := range results {
		answered += one
	}
	fmt.Println(answered)
}
