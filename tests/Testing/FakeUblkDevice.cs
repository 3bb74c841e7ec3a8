using Ublk.Frontend.Ublk;

namespace Ublk.Testing;

/// <summary>
/// One device inside the fake kernel: its tags, the requests that wait, and its state. Every member
/// is called with the driver's gate held.
/// </summary>
internal sealed class FakeUblkDevice
{
    private readonly FakeUblkDriver _driver;
    private readonly Queue<FakeTag> _armed;
    private readonly List<FakeBlockRequest> _inHand = [];

    public FakeUblkDevice(FakeUblkDriver driver, in UblkDeviceInfo info)
    {
        _driver = driver;
        Info = info;
        Queues = new FakeTag[info.QueueCount][];
        for (int i = 0; i < Queues.Length; i++)
        {
            Queues[i] = new FakeTag[info.QueueDepth];
            for (int tag = 0; tag < info.QueueDepth; tag++)
            {
                Queues[i][tag] = new FakeTag(tag);
            }
        }

        _armed = new Queue<FakeTag>(TagCount);
    }

    public UblkDeviceInfo Info { get; }
    public UblkParameters Parameters { get; set; }
    public UblkDeviceState State { get; set; }
    public FakeTag[][] Queues { get; }
    public Queue<FakeBlockRequest> Pending { get; } = new(64);
    public FakeCharDevice? Opener { get; set; }
    public int ServerPid { get; set; } = -1;
    public int ClientOpens { get; set; }

    /// <summary>Queues whose descriptors are mapped.</summary>
    public int MappedCount { get; set; }

    /// <summary>Commands whose completion nobody has taken yet; each holds the file.</summary>
    public int CommandCount { get; set; }
    public bool IsStopping { get; private set; }
    public bool IsQuiescing { get; private set; }
    public bool IsDeleted { get; set; }
    public bool IsRecovering { get; set; }
    public int Id => (int)Info.DeviceId;
    public int TagCount => Info.QueueCount * Info.QueueDepth;
    public int InHandCount => _inHand.Count;
    public bool HasReferences =>
        (Opener is not null && !Opener.IsClosed) || MappedCount > 0 || CommandCount > 0;

    // Not HasFlag: unoptimized, that allocates, and this is asked for each request.
    public bool Has(UblkFeatures feature) => (Info.Flags & feature) == feature;

    public bool IsFetched()
    {
        foreach (FakeTag[] queue in Queues)
        {
            foreach (FakeTag tag in queue)
            {
                if (tag.State is FakeTagState.Free or FakeTagState.Poisoned)
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <summary>A client's request enters the block layer.</summary>
    public void Queue(FakeBlockRequest request)
    {
        request.Device = this;
        bool fails = State is UblkDeviceState.Dead or UblkDeviceState.FailIo || IsStopping;
        if (fails)
        {
            Answer(request, FakeErrno.Io);
            return;
        }

        Pending.Enqueue(request);
        Dispatch();
    }

    public int Fetch(FakeTag tag, FakeQueueDriver queue, ulong word)
    {
        if (tag.State == FakeTagState.Poisoned || IsBadWord(word))
        {
            tag.State = _driver.Profile.RefusedFetchPoisons ? FakeTagState.Poisoned : tag.State;
            return FakeErrno.Invalid;
        }

        if (tag.State != FakeTagState.Free)
        {
            return FakeErrno.Busy;
        }

        tag.Queue = queue;
        tag.ThreadId = Environment.CurrentManagedThreadId;
        Arm(tag, word);
        Dispatch();
        return 0;
    }

    public int Commit(FakeTag tag, int result, ulong word)
    {
        if (tag.State == FakeTagState.Free || tag.ThreadId != Environment.CurrentManagedThreadId ||
            IsBadWord(word))
        {
            return FakeErrno.Invalid;
        }

        if (tag.State != FakeTagState.Busy)
        {
            return FakeErrno.Busy;
        }

        FakeBlockRequest request = tag.Request!;
        tag.Request = null;
        if (tag.SlotIndex >= 0)
        {
            tag.Queue!.Table.Remove(tag.SlotIndex, request);
            tag.SlotIndex = -1;
        }

        Arm(tag, word);
        request.IsCommitted = true;
        request.CommittedResult = result;
        FinishIfUnused(request);
        Dispatch();
        return 0;
    }

    /// <summary>The last fixed operation on a committed request ended, or it had none.</summary>
    public void FinishIfUnused(FakeBlockRequest request)
    {
        if (request.PinCount == 0 && request.IsCommitted)
        {
            request.IsCommitted = false;
            _inHand.Remove(request);
            Finish(request, request.CommittedResult);
            EndStopIfIdle();
        }
    }

    public void BeginStop()
    {
        if (State == UblkDeviceState.Dead)
        {
            Abort();
            return;
        }

        IsStopping = true;
        FailPending();
        EndStopIfIdle();
    }

    public void BeginQuiesce()
    {
        IsQuiescing = true;
        // With every tag busy there is nothing to abort, and nobody is told.
        Abort();
    }

    /// <summary>Starts or resumes service.</summary>
    public void GoLive()
    {
        State = UblkDeviceState.Live;
        IsRecovering = false;
        IsStopping = false;
        IsQuiescing = false;
        Dispatch();
    }

    /// <summary>The server let go of something; when it was the last, it is gone.</summary>
    public void ReleaseIfUnreferenced()
    {
        if (HasReferences || Opener is null)
        {
            _driver.Forget(this);
            return;
        }

        Opener = null;
        ServerPid = -1;
        bool wasLive = State == UblkDeviceState.Live;
        bool recovers = Has(UblkFeatures.UserRecovery) && !IsStopping;
        bool reissues = recovers && Has(UblkFeatures.UserRecoveryReissue);
        foreach (FakeTag[] queue in Queues)
        {
            foreach (FakeTag tag in queue)
            {
                tag.Reset();
            }
        }

        _armed.Clear();
        foreach (FakeBlockRequest request in _inHand.ToArray())
        {
            _inHand.Remove(request);
            request.IsCommitted = false;
            request.PinCount = 0;
            if (reissues)
            {
                Pending.Enqueue(request);
            }
            else
            {
                Answer(request, FakeErrno.Io);
            }
        }

        if (wasLive)
        {
            State = !recovers ? UblkDeviceState.Dead
                : Has(UblkFeatures.UserRecoveryFailIo) ? UblkDeviceState.FailIo
                : UblkDeviceState.Quiesced;
        }

        IsQuiescing = false;
        EndStopIfIdle();
        if (State is UblkDeviceState.Dead or UblkDeviceState.FailIo)
        {
            FailPending();
        }

        _driver.Forget(this);
    }

    private void Arm(FakeTag tag, ulong word)
    {
        tag.Word = word;
        tag.State = FakeTagState.Armed;
        _armed.Enqueue(tag);
    }

    private bool IsBadWord(ulong word) => Has(UblkFeatures.AutoBufferRegistration)
        ? (word & ~0x1FFFFUL) != 0 : word != 0;

    private void Dispatch()
    {
        while (State == UblkDeviceState.Live && !IsQuiescing && !IsStopping &&
            Pending.Count > 0 && _armed.Count > 0)
        {
            FakeTag tag = _armed.Dequeue();
            Deliver(tag, Pending.Dequeue());
        }
    }

    private void Deliver(FakeTag tag, FakeBlockRequest request)
    {
        uint flags = request.OperationFlags;
        request.WasRegistered = false;
        if (Has(UblkFeatures.AutoBufferRegistration) && request.IsPayload)
        {
            int index = (ushort)tag.Word;
            if (tag.Queue!.Table.TryInstall(index, request))
            {
                tag.SlotIndex = index;
                request.WasRegistered = true;
            }
            else if ((tag.Word & UblkAbi.AutoBufferFallback) != 0)
            {
                flags |= UblkAbi.DescriptorNeedRegistration;
            }
            else
            {
                // Not delivered at all: the client has an error and the tag waits on.
                _armed.Enqueue(tag);
                Answer(request, FakeErrno.Io);
                return;
            }
        }

        tag.State = FakeTagState.Busy;
        tag.Request = request;
        request.DeliveryCount++;
        _inHand.Add(request);
        tag.Queue!.Deliver(tag.Number, 0, new UblkIoDescriptor
        {
            OperationFlags = flags,
            StartSector = request.StartSector,
            SectorCount = request.SectorCount,
            Address = _driver.Profile.EchoesBufferWord ? tag.Word : 0,
        });
    }

    private void Finish(FakeBlockRequest request, int result)
    {
        if (result < 0)
        {
            Answer(request, FakeErrno.ToClient(result));
            return;
        }

        int full = (int)Math.Min(request.LengthBytes, int.MaxValue);
        if (!request.IsPayload || result >= full)
        {
            if (result > full)
            {
                _driver.Violate($"commit of {result} bytes for a request of {full}");
            }

            Answer(request, 0);
            return;
        }

        _driver.ShortCommitCount++;
        if (request.IsRead && result == 0)
        {
            Answer(request, FakeErrno.Io);
        }
        else if (_driver.Profile.ShortCommits == ShortCommitRule.FullSuccess)
        {
            Answer(request, 0);
        }
        else
        {
            uint sectors = (uint)(result >> UblkAbi.SectorShift);
            request.DataOffset += result;
            request.StartSector += sectors;
            request.SectorCount -= sectors;
            Pending.Enqueue(request);
        }
    }

    private void Answer(FakeBlockRequest request, int result)
    {
        if (request.IsDone)
        {
            _driver.Violate($"request at {request.OffsetBytes} was answered twice");
        }

        request.Result = result;
        request.IsDone = true;
        _driver.Changed();
    }

    private void FailPending()
    {
        while (Pending.TryDequeue(out FakeBlockRequest? request))
        {
            Answer(request, FakeErrno.Io);
        }
    }

    private void EndStopIfIdle()
    {
        if (IsStopping && _inHand.Count == 0)
        {
            IsStopping = false;
            State = UblkDeviceState.Dead;
            Abort();
            _driver.Changed();
        }
    }

    private void Abort()
    {
        while (_armed.TryDequeue(out FakeTag? tag))
        {
            tag.State = FakeTagState.Ended;
            tag.Queue!.Deliver(tag.Number, FakeErrno.NoDevice, default);
        }
    }
}
