using System.Numerics;
using System.Reflection;
using System.Runtime.InteropServices;
using Ublk.Frontend.Ublk;
using Ublk.Uring;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

/// <summary>Every structure that the kernel reads or writes lies as the C headers have it.</summary>
public sealed class AbiLayoutTests
{
    // C# structure, C structure; below it C# field, C member.
    private const string Map = """
        SubmissionEntry io_uring_sqe
          Opcode opcode
          Flags flags
          IoPriority ioprio
          Fd fd
          Offset off
          CommandOpcode cmd_op
          Address addr
          Length len
          OperationFlags rw_flags
          UserData user_data
          BufferIndex buf_index
          Personality personality
          FileIndex file_index
          Command0 addr3
          Command1 attr_type_mask
        CompletionEntry io_uring_cqe
          UserData user_data
          Result res
          Flags flags
        SqRingOffsets io_sqring_offsets
          Head head
          Tail tail
          RingMask ring_mask
          RingEntries ring_entries
          Flags flags
          Dropped dropped
          Array array
          UserAddress user_addr
        CqRingOffsets io_cqring_offsets
          Head head
          Tail tail
          RingMask ring_mask
          RingEntries ring_entries
          Overflow overflow
          Cqes cqes
          Flags flags
          UserAddress user_addr
        RingParameters io_uring_params
          SqEntries sq_entries
          CqEntries cq_entries
          Flags flags
          SqThreadCpu sq_thread_cpu
          SqThreadIdle sq_thread_idle
          Features features
          WqFd wq_fd
          SqOffsets sq_off
          CqOffsets cq_off
        GetEventsArgument io_uring_getevents_arg
          SignalMask sigmask
          SignalMaskSize sigmask_sz
          MinWaitMicroseconds min_wait_usec
          Timespec ts
        KernelTimespec __kernel_timespec
          Seconds tv_sec
          Nanoseconds tv_nsec
        ResourceRegister io_uring_rsrc_register
          Count nr
          Flags flags
          Data data
          Tags tags
        ResourceUpdate io_uring_rsrc_update2
          Offset offset
          Data data
          Tags tags
          Count nr
        ProvidedRingRegister io_uring_buf_reg
          RingAddress ring_addr
          RingEntries ring_entries
          GroupId bgid
          Flags flags
        ProvidedBufferEntry io_uring_buf
          Address addr
          Length len
          Id bid
          Tail resv
        ProbeHead io_uring_probe
          LastOpcode last_op
          OperationCount ops_len
        ProbeOperation io_uring_probe_op
          Opcode op
          Flags flags
        IoVector iovec
          Base iov_base
          Length iov_len
        MessageHeader msghdr
          Name msg_name
          NameLength msg_namelen
          Vectors msg_iov
          VectorCount msg_iovlen
          Control msg_control
          ControlLength msg_controllen
          Flags msg_flags
        FileStatus statx
          Mask stx_mask
          Mode stx_mode
          Size stx_size
          Blocks stx_blocks
          DeviceMajorOfNode stx_rdev_major
          DeviceMinorOfNode stx_rdev_minor
          DeviceMajor stx_dev_major
          DeviceMinor stx_dev_minor
          DirectMemoryAlign stx_dio_mem_align
          DirectOffsetAlign stx_dio_offset_align
        UblkDeviceInfo ublksrv_ctrl_dev_info
          QueueCount nr_hw_queues
          QueueDepth queue_depth
          State state
          IoDescriptorSize io_desc_size
          MaxIoBufferBytes max_io_buf_bytes
          DeviceId dev_id
          ServerPid ublksrv_pid
          Flags flags
          ServerFlags ublksrv_flags
          OwnerUid owner_uid
          OwnerGid owner_gid
        UblkIoDescriptor ublksrv_io_desc
          OperationFlags op_flags
          SectorCount nr_sectors
          StartSector start_sector
          Address addr
        UblkParameters ublk_params
          Length len
          Types types
          Attributes basic/ublk_param_basic.attrs
          LogicalBlockShift basic/ublk_param_basic.logical_bs_shift
          PhysicalBlockShift basic/ublk_param_basic.physical_bs_shift
          OptimalIoShift basic/ublk_param_basic.io_opt_shift
          MinimalIoShift basic/ublk_param_basic.io_min_shift
          MaxSectors basic/ublk_param_basic.max_sectors
          ChunkSectors basic/ublk_param_basic.chunk_sectors
          DeviceSectors basic/ublk_param_basic.dev_sectors
          VirtualBoundaryMask basic/ublk_param_basic.virt_boundary_mask
          DiscardAlignment discard/ublk_param_discard.discard_alignment
          DiscardGranularity discard/ublk_param_discard.discard_granularity
          MaxDiscardSectors discard/ublk_param_discard.max_discard_sectors
          MaxWriteZeroesSectors discard/ublk_param_discard.max_write_zeroes_sectors
          MaxDiscardSegments discard/ublk_param_discard.max_discard_segments
          DmaAlignmentMask dma/ublk_param_dma_align.alignment
        """;

    private static readonly Assembly[] s_assemblies = [typeof(Loop).Assembly, typeof(UblkAbi).Assembly];

    public static TheoryData<string> Structures => [.. AbiMap.Parse(Map).Keys];

    [Theory]
    [MemberData(nameof(Structures))]
    public void LiesAsInC(string name)
    {
        AbiFacts facts = AbiFacts.Load();
        (string? structure, Dictionary<string, string> members) = AbiMap.Parse(Map)[name];
        Assert.NotNull(structure);
        Type type = Assert.Single(ExplicitStructures(), type => type.Name == name);
        Assert.Equal(facts.Size(structure), new BigInteger(AbiFacts.SizeOf(type)));
        foreach (FieldInfo field in AbiFacts.FieldsOf(type))
        {
            Assert.True(members.Remove(field.Name, out string? member),
                $"{name}.{field.Name} has no C member; add it to the map of this test");
            (BigInteger offset, BigInteger width) = facts.Member(structure, member!);
            Assert.True(offset == AbiFacts.OffsetOf(field) && width == AbiFacts.SizeOf(field.FieldType),
                $"{name}.{field.Name} lies at {AbiFacts.OffsetOf(field)} with " +
                $"{AbiFacts.SizeOf(field.FieldType)} bytes; {structure}.{member} at {offset} with {width}");
        }

        Assert.Empty(members.Keys);
    }

    [Fact]
    public void EveryExplicitStructureIsCompared()
    {
        Dictionary<string, (string?, Dictionary<string, string>)> map = AbiMap.Parse(Map);
        foreach (Type type in ExplicitStructures())
        {
            Assert.True(map.ContainsKey(type.Name),
                $"{type.FullName} has explicit offsets and no C structure; add it to the map of this test");
        }
    }

    private static IEnumerable<Type> ExplicitStructures() => s_assemblies
        .SelectMany(assembly => assembly.GetTypes())
        .Where(type => type.StructLayoutAttribute?.Value == LayoutKind.Explicit)
        .Where(type => !type.FullName!.StartsWith('<')); // The compiler's own, for constant data.
}
