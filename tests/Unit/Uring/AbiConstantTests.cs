using System.Numerics;
using System.Reflection;
using System.Text.RegularExpressions;
using Ublk.Frontend.Ublk;
using Ublk.Tests.Unit.Tidy;
using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

/// <summary>Every number shared with the kernel has the value of the C headers.</summary>
public sealed partial class AbiConstantTests
{
    // C# type; below it C# constant and C name. "own" marks a number that no header defines for
    // programs, with the reason. A type named here must be complete, unless "part" follows its name.
    private const string Map = """
        RingOpcode
          Nop IORING_OP_NOP
          Fsync IORING_OP_FSYNC
          ReadFixed IORING_OP_READ_FIXED
          WriteFixed IORING_OP_WRITE_FIXED
          SendMessage IORING_OP_SENDMSG
          Timeout IORING_OP_TIMEOUT
          TimeoutRemove IORING_OP_TIMEOUT_REMOVE
          Accept IORING_OP_ACCEPT
          AsyncCancel IORING_OP_ASYNC_CANCEL
          LinkTimeout IORING_OP_LINK_TIMEOUT
          Connect IORING_OP_CONNECT
          Fallocate IORING_OP_FALLOCATE
          Close IORING_OP_CLOSE
          Read IORING_OP_READ
          Write IORING_OP_WRITE
          Send IORING_OP_SEND
          Receive IORING_OP_RECV
          MessageRing IORING_OP_MSG_RING
          UringCommand IORING_OP_URING_CMD
          SendZeroCopy IORING_OP_SEND_ZC
        EntryFlags
          FixedFile IOSQE_FIXED_FILE
          Drain IOSQE_IO_DRAIN
          Link IOSQE_IO_LINK
          HardLink IOSQE_IO_HARDLINK
          Async IOSQE_ASYNC
          BufferSelect IOSQE_BUFFER_SELECT
        CompletionFlags
          Buffer IORING_CQE_F_BUFFER
          More IORING_CQE_F_MORE
          SocketNonEmpty IORING_CQE_F_SOCK_NONEMPTY
          Notification IORING_CQE_F_NOTIF
        SetupFlags
          CqSize IORING_SETUP_CQSIZE
          Clamp IORING_SETUP_CLAMP
          SubmitAll IORING_SETUP_SUBMIT_ALL
          CoopTaskRun IORING_SETUP_COOP_TASKRUN
          Sqe128 IORING_SETUP_SQE128
          SingleIssuer IORING_SETUP_SINGLE_ISSUER
          DeferTaskRun IORING_SETUP_DEFER_TASKRUN
          NoSqArray IORING_SETUP_NO_SQARRAY
        EnterFlags
          GetEvents IORING_ENTER_GETEVENTS
          ExtArg IORING_ENTER_EXT_ARG
        RegisterOpcode
          Probe IORING_REGISTER_PROBE
          Files2 IORING_REGISTER_FILES2
          FilesUpdate2 IORING_REGISTER_FILES_UPDATE2
          Buffers2 IORING_REGISTER_BUFFERS2
          BuffersUpdate IORING_REGISTER_BUFFERS_UPDATE
          ProvidedBufferRing IORING_REGISTER_PBUF_RING
          UnregisterProvidedBufferRing IORING_UNREGISTER_PBUF_RING
        ResourceRegister
          Sparse IORING_RSRC_REGISTER_SPARSE
        ProbeOperation
          Supported IO_URING_OP_SUPPORTED
        Ring
          SqeMapOffset IORING_OFF_SQES
          SqFlagCqOverflow IORING_SQ_CQ_OVERFLOW
          FeatureSingleMap IORING_FEAT_SINGLE_MMAP
          FeatureExtArg IORING_FEAT_EXT_ARG
          BufferTableLimit own IORING_MAX_REG_BUFFERS is inside the kernel
        ProvidedBuffers part
          BufferIdShift IORING_CQE_BUFFER_SHIFT
        Entries
          WriteDataSync RWF_DSYNC
          MessageWaitAll MSG_WAITALL
          MessageNoSignal MSG_NOSIGNAL
          FsyncDataSync IORING_FSYNC_DATASYNC
          ReceiveMultishot IORING_RECV_MULTISHOT
          AcceptMultishot IORING_ACCEPT_MULTISHOT
          AsyncCancelAll IORING_ASYNC_CANCEL_ALL
        FallocateModes
          KeepSize FALLOC_FL_KEEP_SIZE
          PunchHole FALLOC_FL_PUNCH_HOLE
          ZeroRange FALLOC_FL_ZERO_RANGE
        BlockImage
          LockExclusive LOCK_EX
          LockNonBlocking LOCK_NB
          SectorBytes own the unit of the block layer, fixed for ever
          BlkGetSize64 BLKGETSIZE64
          BlkSectorSize BLKSSZGET
          BlkPhysicalSectorSize BLKPBSZGET
          BlkReadOnly BLKROGET
        ProcessSetup
          PrSetIoFlusher PR_SET_IO_FLUSHER
          PrGetIoFlusher PR_GET_IO_FLUSHER
          LockCurrent MCL_CURRENT
          LockFuture MCL_FUTURE
          LockOnFault MCL_ONFAULT
        Libc
          SysIoUringSetup SYS_io_uring_setup
          SysIoUringEnter SYS_io_uring_enter
          SysIoUringRegister SYS_io_uring_register
          ReadOnly O_RDONLY
          ReadWrite O_RDWR
          Exclusive O_EXCL
          Direct O_DIRECT
          CloseOnExec O_CLOEXEC
          NonBlocking O_NONBLOCK
          GetFlags F_GETFL
          SetFlags F_SETFL
          ProtectRead PROT_READ
          ProtectWrite PROT_WRITE
          MapShared MAP_SHARED
          MapPrivate MAP_PRIVATE
          MapAnonymous MAP_ANONYMOUS
          MapPopulate MAP_POPULATE
          CurrentDirectory AT_FDCWD
          SeekData SEEK_DATA
          SeekHole SEEK_HOLE
        FileStatus
          MaskBasic STATX_BASIC_STATS
          MaskDirectAlign STATX_DIOALIGN
          EmptyPath AT_EMPTY_PATH
          TypeMask S_IFMT
          TypeRegular S_IFREG
          TypeBlockDevice S_IFBLK
        UblkFeatures
          SupportZeroCopy UBLK_F_SUPPORT_ZERO_COPY
          CompleteInTask UBLK_F_URING_CMD_COMP_IN_TASK
          NeedGetData UBLK_F_NEED_GET_DATA
          UserRecovery UBLK_F_USER_RECOVERY
          UserRecoveryReissue UBLK_F_USER_RECOVERY_REISSUE
          UnprivilegedDevice UBLK_F_UNPRIVILEGED_DEV
          CommandIoctlEncode UBLK_F_CMD_IOCTL_ENCODE
          UserCopy UBLK_F_USER_COPY
          Zoned UBLK_F_ZONED
          UserRecoveryFailIo UBLK_F_USER_RECOVERY_FAIL_IO
          UpdateSize UBLK_F_UPDATE_SIZE
          AutoBufferRegistration UBLK_F_AUTO_BUF_REG
          Quiesce UBLK_F_QUIESCE
          PerIoDaemon UBLK_F_PER_IO_DAEMON
          BufferRegistrationOffDaemon UBLK_F_BUF_REG_OFF_DAEMON
          BatchIo UBLK_F_BATCH_IO
          Integrity UBLK_F_INTEGRITY
          SafeStop UBLK_F_SAFE_STOP_DEV
          NoAutoPartitionScan UBLK_F_NO_AUTO_PART_SCAN
          SharedMemoryZeroCopy UBLK_F_SHMEM_ZC
          IoDescriptorSize UBLK_F_IO_DESC_SIZE
        UblkDeviceState
          Dead UBLK_S_DEV_DEAD
          Live UBLK_S_DEV_LIVE
          Quiesced UBLK_S_DEV_QUIESCED
          FailIo UBLK_S_DEV_FAIL_IO
        UblkOperation
          Read UBLK_IO_OP_READ
          Write UBLK_IO_OP_WRITE
          Flush UBLK_IO_OP_FLUSH
          Discard UBLK_IO_OP_DISCARD
          WriteZeroes UBLK_IO_OP_WRITE_ZEROES
        UblkAbi
          GetQueueAffinity UBLK_U_CMD_GET_QUEUE_AFFINITY
          GetDeviceInfo UBLK_U_CMD_GET_DEV_INFO
          AddDevice UBLK_U_CMD_ADD_DEV
          DeleteDevice UBLK_U_CMD_DEL_DEV
          StartDevice UBLK_U_CMD_START_DEV
          StopDevice UBLK_U_CMD_STOP_DEV
          SetParameters UBLK_U_CMD_SET_PARAMS
          GetParameters UBLK_U_CMD_GET_PARAMS
          StartUserRecovery UBLK_U_CMD_START_USER_RECOVERY
          EndUserRecovery UBLK_U_CMD_END_USER_RECOVERY
          GetFeatures UBLK_U_CMD_GET_FEATURES
          DeleteDeviceAsync UBLK_U_CMD_DEL_DEV_ASYNC
          UpdateSize UBLK_U_CMD_UPDATE_SIZE
          QuiesceDevice UBLK_U_CMD_QUIESCE_DEV
          TryStopDevice UBLK_U_CMD_TRY_STOP_DEV
          FetchRequest UBLK_U_IO_FETCH_REQ
          CommitAndFetchRequest UBLK_U_IO_COMMIT_AND_FETCH_REQ
          NoQueue own "(__u16)-1" in the driver
          SectorBytes own the unit of the block layer, fixed for ever
          SectorShift own the unit of the block layer, fixed for ever
          MaxQueueDepth UBLK_MAX_QUEUE_DEPTH
          UserCopyOffset UBLKSRV_IO_BUF_OFFSET
          TagShift UBLK_TAG_OFF
          QueueShift UBLK_QID_OFF
          AutoBufferFallback own compared below, it is a flag inside a packed word
          DescriptorFua UBLK_IO_F_FUA
          DescriptorNoUnmap UBLK_IO_F_NOUNMAP
          DescriptorNeedRegistration UBLK_IO_F_NEED_REG_BUF
        UblkParameters
          SizeBytes own compared with the structure's layout
          TypeBasic UBLK_PARAM_TYPE_BASIC
          TypeDiscard UBLK_PARAM_TYPE_DISCARD
          TypeDmaAlign UBLK_PARAM_TYPE_DMA_ALIGN
          AttributeReadOnly UBLK_ATTR_READ_ONLY
          AttributeVolatileCache UBLK_ATTR_VOLATILE_CACHE
          AttributeFua UBLK_ATTR_FUA
        """;

    private static readonly Assembly[] s_assemblies = [typeof(Loop).Assembly, typeof(UblkAbi).Assembly];

    public static TheoryData<string> Types => [.. AbiMap.Parse(Map).Keys];

    [Theory]
    [MemberData(nameof(Types))]
    public void HasTheValueOfC(string name)
    {
        AbiFacts facts = AbiFacts.Load();
        (string? remark, Dictionary<string, string> members) = AbiMap.Parse(Map)[name];
        bool isPart = remark is not null;
        Type type = Assert.Single(s_assemblies.SelectMany(assembly => assembly.GetTypes()),
            type => type.Name == name);
        foreach (FieldInfo constant in AbiFacts.ConstantsOf(type))
        {
            BigInteger value = AbiFacts.ValueOf(constant);
            if (!members.Remove(constant.Name, out string? cName))
            {
                Assert.True(isPart || (constant.Name == "None" && value.IsZero),
                    $"{name}.{constant.Name} has no C name; add it to the map of this test");
                continue;
            }

            if (cName != "own")
            {
                BigInteger expected = facts.Constant(cName);
                Assert.True(expected == value, $"{name}.{constant.Name} is {value}, {cName} {expected}");
            }
        }

        Assert.Empty(members.Keys);
    }

    [Fact]
    public void ErrorNumbersHaveTheValueOfTheirName()
    {
        AbiFacts facts = AbiFacts.Load();
        foreach (FieldInfo constant in AbiFacts.ConstantsOf(typeof(Errno)))
        {
            Assert.True(facts.Constant(constant.Name) == AbiFacts.ValueOf(constant), constant.Name);
        }
    }

    [Fact]
    public void AutoBufferFlagLiesInItsByte()
    {
        AbiFacts facts = AbiFacts.Load();
        int shift = 8 * (int)facts.Member("ublk_auto_buf_reg", "flags").Offset;
        BigInteger flag = facts.Constant("UBLK_AUTO_BUF_REG_FALLBACK");
        Assert.Equal(flag << shift, new BigInteger(UblkAbi.AutoBufferFallback));
    }

    [Fact]
    public void ProvidedRingTailLiesWhereTheEntriesHaveIt()
    {
        AbiFacts facts = AbiFacts.Load();
        var own = AbiFacts.ConstantsOf(typeof(ProvidedBuffers)).ToDictionary(
            constant => constant.Name, AbiFacts.ValueOf, StringComparer.Ordinal);
        Assert.Equal(facts.Member("io_uring_buf_ring", "tail").Offset, own["TailOffset"]);
        Assert.Equal(facts.Size("io_uring_buf"), own["EntryBytes"]);
    }

    [Fact]
    public void SocketFlagForCloseOnExecIsTheFileFlag() =>
        Assert.Equal(AbiFacts.Load().Constant("SOCK_CLOEXEC"), new BigInteger(Libc.CloseOnExec));

    [Fact]
    public void EveryEnumOfTheAbiFilesIsCompared()
    {
        Dictionary<string, (string?, Dictionary<string, string>)> map = AbiMap.Parse(Map);
        foreach (string file in Repository.Files.Where(file =>
            file.StartsWith("src/Uring/Abi/", StringComparison.Ordinal) ||
            file == "src/Frontend/Ublk/UblkAbi.cs"))
        {
            foreach (Match match in EnumName().Matches(File.ReadAllText(Repository.Full(file))))
            {
                Assert.True(map.ContainsKey(match.Groups[1].Value),
                    $"{file}: enum {match.Groups[1].Value} has no C names; add it to the map of this test");
            }
        }
    }

    [GeneratedRegex(@"(?:public|internal|private) enum (\w+)")]
    private static partial Regex EnumName();
}
