package main

import (
	"context"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// clone makes a running VM of a running VM, with its hardware and what the specification changes.
func (h *additions) clone(
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
		Uuid:              spec.BiosUuid,
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
	tell(simulator.Map.Get(ref).(*simulator.VirtualMachine))
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
