// A vCenter to test against: Debian's govmomi simulator, and InstantClone_Task, which it lacks.
//
// It prints its URL when it listens, and serves until its standard input ends, so that it can't
// outlive the test that started it.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"

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
	delay := flag.Int("task-delay", 0, "milliseconds that each PowerOnVM_Task takes")
	flag.Parse()

	model := simulator.VPX()
	model.ServiceContent = vpx.ServiceContent
	model.ServiceContent.About.ApiVersion = *version
	model.ServiceContent.About.Version = *version
	model.Machine = *machines
	model.Datastore = 2
	model.Portgroup = 2
	model.DelayConfig.MethodDelay = map[string]int{"PowerOnVM_Task": *delay}
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
	server.Config.Handler = &instantClones{server.Config.Handler, model.Service}
	fmt.Println(server.URL.Host)
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.CloseClientConnections()
}

// instantClones answers InstantClone_Task and passes everything else on.
type instantClones struct {
	next    http.Handler
	service *simulator.Service
}

func (h *instantClones) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !bytes.Contains(body, []byte("InstantClone_Task")) {
		h.next.ServeHTTP(w, r)
		return
	}
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request, ok := method.Body.(*types.InstantClone_Task)
	if !ok {
		h.next.ServeHTTP(w, r)
		return
	}
	if refused := h.refusal(r, request.This); refused != nil {
		for key, values := range refused.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(refused.Code)
		_, _ = w.Write(refused.Body.Bytes())
		return
	}
	source := simulator.Map.Get(request.This).(*simulator.VirtualMachine)
	task := simulator.CreateTask(source, "instantClone", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		return h.clone(source, &request.Spec)
	})
	response := methods.InstantClone_TaskBody{Res: &types.InstantClone_TaskResponse{Returnval: task.Run()}}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = io.WriteString(w, xml.Header)
	envelope := struct {
		XMLName struct{} `xml:"http://schemas.xmlsoap.org/soap/envelope/ Envelope"`
		XSD     string   `xml:"xmlns:xsd,attr"`
		XSI     string   `xml:"xmlns:xsi,attr"`
		Body    struct {
			Response *types.InstantClone_TaskResponse `xml:"urn:vim25 InstantClone_TaskResponse"`
		} `xml:"http://schemas.xmlsoap.org/soap/envelope/ Body"`
	}{XSD: "http://www.w3.org/2001/XMLSchema", XSI: "http://www.w3.org/2001/XMLSchema-instance"}
	envelope.Body.Response = response.Res
	if err := xml.NewEncoder(w).Encode(envelope); err != nil {
		log.Print(err)
	}
}

// refusal asks the simulator itself whether this session may reach this VM: with a call that
// changes nothing. Its answer is the caller's where it is a fault.
func (h *instantClones) refusal(r *http.Request, vm types.ManagedObjectReference) *httptest.ResponseRecorder {
	probe := soap.Envelope{Body: &methods.RefreshStorageInfoBody{
		Req: &types.RefreshStorageInfo{This: vm},
	}}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	if err := xml.NewEncoder(&out).Encode(probe); err != nil {
		log.Fatal(err)
	}
	asked := r.Clone(r.Context())
	asked.Body = io.NopCloser(&out)
	recorder := httptest.NewRecorder()
	h.next.ServeHTTP(recorder, asked)
	if recorder.Code == http.StatusOK {
		return nil
	}
	return recorder
}

// clone makes a running VM of a running VM, with its hardware and what the specification changes.
func (h *instantClones) clone(
	source *simulator.VirtualMachine, spec *types.VirtualMachineInstantCloneSpec,
) (types.AnyType, types.BaseMethodFault) {
	if source.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		return nil, &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn,
			ExistingState:  source.Runtime.PowerState,
		}
	}
	folder, pool := spec.Location.Folder, spec.Location.Pool
	if folder == nil {
		folder = source.Parent
	}
	if pool == nil {
		pool = source.ResourcePool
	}
	datastore := source.Datastore[0]
	if spec.Location.Datastore != nil {
		datastore = *spec.Location.Datastore
	}
	config := types.VirtualMachineConfigSpec{
		Name:              spec.Name,
		GuestId:           source.Config.GuestId,
		NumCPUs:           source.Config.Hardware.NumCPU,
		NumCoresPerSocket: source.Config.Hardware.NumCoresPerSocket,
		MemoryMB:          int64(source.Config.Hardware.MemoryMB),
		// Later keys win, as on vCenter.
		ExtraConfig: append(append([]types.BaseOptionValue{}, source.Config.ExtraConfig...), spec.Config...),
		Files: &types.VirtualMachineFileInfo{
			VmPathName: "[" + simulator.Map.Get(datastore).(*simulator.Datastore).Name + "]",
		},
	}
	for _, device := range source.Config.Hardware.Device {
		if card, ok := device.(types.BaseVirtualEthernetCard); ok {
			copied := *card.GetVirtualEthernetCard()
			copied.MacAddress = ""
			config.DeviceChange = append(config.DeviceChange, &types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationAdd,
				Device:    &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: copied}},
			})
		}
	}
	ctx := context.Background()
	created, err := methods.CreateVM_Task(ctx, h.service, &types.CreateVM_Task{
		This: *folder, Config: config, Pool: *pool, Host: source.Runtime.Host,
	})
	if err != nil {
		return nil, &types.VmConfigFault{}
	}
	task := simulator.Map.Get(created.Returnval).(*simulator.Task)
	if task.Info.Error != nil {
		return nil, task.Info.Error.Fault
	}
	ref := task.Info.Result.(types.ManagedObjectReference)
	if len(spec.Location.DeviceChange) > 0 {
		changed, err := methods.ReconfigVM_Task(ctx, h.service, &types.ReconfigVM_Task{
			This: ref, Spec: types.VirtualMachineConfigSpec{DeviceChange: spec.Location.DeviceChange},
		})
		if err != nil {
			return nil, &types.VmConfigFault{}
		}
		if failed := simulator.Map.Get(changed.Returnval).(*simulator.Task).Info.Error; failed != nil {
			return nil, failed.Fault
		}
	}
	if _, err := methods.PowerOnVM_Task(ctx, h.service, &types.PowerOnVM_Task{This: ref}); err != nil {
		return nil, &types.VmConfigFault{}
	}
	return ref, nil
}
