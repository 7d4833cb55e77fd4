// A vCenter to test against: Debian's govmomi simulator, and what it lacks of vCenter's behaviour;
// see additions.go.
//
// It prints its URL when it listens, and serves until its standard input ends, so that it can't
// outlive the test that started it.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/vpx"

	_ "github.com/vmware/govmomi/lookup/simulator"
	_ "github.com/vmware/govmomi/pbm/simulator"
	_ "github.com/vmware/govmomi/sts/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
)

func main() {
	listen := flag.String("listen", "127.0.0.2:0", "address and port")
	version := flag.String("api-version", "6.7.3", "API version to report")
	certificate := flag.String("certificate", "", "PEM file of the certificate and its key")
	user := flag.String("user", "operator@vsphere.local", "the one user")
	password := flag.String("password", "", "the user's password")
	machines := flag.Int("machines", 0, "VMs of others in each pool")
	missing := flag.String("missing", "", "privileges that the user has not, separated by commas")
	inaccessible := flag.String("inaccessible", "", "name of a datastore that no host reaches")
	maintenance := flag.String("maintenance", "", "name of a datastore in maintenance mode")
	full := flag.String("full", "", "name of a datastore without free space")
	proxy := flag.Int("proxy", 0, "port of the proxy by which extensions log in; 0 is none")
	esx := flag.Bool("esx", false, "be a standalone host")
	delay := flag.Int("task-delay", 0, "milliseconds that the tasks of CreateVM_Task and PowerOnVM_Task take")
	drs := flag.String("drs", "fullyAutomated", "what DRS does in clusters by itself; off is nothing")
	folders := flag.Bool("folders", false, "have the datacenter, and all in it, in a folder F0 each")
	filters := flag.Bool("filters", true, "have distributed switches that can filter traffic")
	idle := flag.Int("session-idle", 0, "milliseconds without a call after which a session has ended; 0 is never")
	flag.Parse()
	simulator.SessionIdleTimeout = time.Duration(*idle) * time.Millisecond

	model := simulator.VPX()
	model.ServiceContent = vpx.ServiceContent
	if *esx {
		model = simulator.ESX()
	}
	model.ServiceContent.About.ApiVersion = *version
	model.ServiceContent.About.Version = *version
	model.Machine = *machines
	model.Datastore = 2
	if *folders {
		model.Folder = 1
	}
	if !*esx {
		model.Portgroup = 2
	}
	defer model.Remove()
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(*certificate, *certificate)
	if err != nil {
		log.Fatal(err)
	}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	model.Service.RegisterEndpoints = true
	model.Service.Listen = &url.URL{Host: *listen, User: url.UserPassword(*user, *password)}
	server := model.Service.NewServer()
	address := server.URL.Host
	if *proxy != 0 {
		if err := startTunnel(server.URL.Hostname(), *proxy, address); err != nil {
			log.Fatal(err)
		}
	}
	addMethods()
	addQualifier()
	fillZeros()
	setDrs(*drs)
	setFilters(*filters)
	tagUplinks()
	spoil(*inaccessible, *full, *maintenance)
	server.Config.Handler = &additions{
		server.Config.Handler, model.Service, strings.Split(*missing, ","), time.Duration(*delay) * time.Millisecond,
	}
	fmt.Println(address)
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.CloseClientConnections()
}
