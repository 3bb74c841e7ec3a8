using Ublk.Frontend.Ublk;
using Ublk.Uring;

namespace Ublk.Testing;

/// <summary>A command or call that can be made to fail.</summary>
public enum FakeCommand
{
    /// <summary>GET_FEATURES.</summary>
    GetFeatures,
    /// <summary>ADD_DEV.</summary>
    Add,
    /// <summary>SET_PARAMS.</summary>
    SetParameters,
    /// <summary>GET_PARAMS.</summary>
    GetParameters,
    /// <summary>GET_DEV_INFO.</summary>
    GetInfo,
    /// <summary>START_DEV.</summary>
    Start,
    /// <summary>STOP_DEV.</summary>
    Stop,
    /// <summary>TRY_STOP_DEV.</summary>
    TryStop,
    /// <summary>DEL_DEV.</summary>
    Delete,
    /// <summary>DEL_DEV_ASYNC.</summary>
    DeleteAsync,
    /// <summary>UPDATE_SIZE.</summary>
    UpdateSize,
    /// <summary>QUIESCE_DEV.</summary>
    Quiesce,
    /// <summary>START_USER_RECOVERY.</summary>
    StartRecovery,
    /// <summary>END_USER_RECOVERY.</summary>
    EndRecovery,
    /// <summary>Opening the character device.</summary>
    Open,
    /// <summary>Mapping a queue; a failure is an exception.</summary>
    OpenQueue,
    /// <summary>FETCH_REQ.</summary>
    Fetch,
    /// <summary>COMMIT_AND_FETCH_REQ.</summary>
    Commit,
    /// <summary>User copy out of a request; a result above 0 is a short copy.</summary>
    CopyFrom,
    /// <summary>User copy into a request.</summary>
    CopyTo,
}

/// <content>The client's side, injected failures and what a test wants to know.</content>
public sealed partial class FakeUblkDriver
{
    private readonly List<Injected> _injected = [];
    private readonly List<FakeCommand> _log = [];

    /// <summary>Handles of character devices that are open.</summary>
    public int OpenHandleCount => Locked(
        () => _handles.Count(static handle => !handle.IsClosed && !handle.IsKilled));

    /// <summary>Places in all tables that hold request pages.</summary>
    public int RegisteredCount => Locked(() => _tables.Values.Sum(static table => table.UsedCount));

    /// <summary>Control commands and opens so far, in order.</summary>
    public IReadOnlyList<FakeCommand> Log => Locked(() => _log.ToArray());

    /// <summary>What the server did that no server may do.</summary>
    public IReadOnlyList<string> Violations => Locked(() => _violations.ToArray());

    /// <summary>Makes a command answer a result without being carried out.</summary>
    /// <param name="command">Which.</param>
    /// <param name="result">−errno; −ETIME is a command that never answered.</param>
    /// <param name="skip">Commands of this kind that pass first.</param>
    /// <param name="count">How many fail.</param>
    public void Inject(FakeCommand command, int result, int skip = 0, int count = 1) =>
        Locked(() =>
        {
            _injected.Add(new Injected
            {
                Command = command,
                Result = result,
                Skip = skip,
                Count = count,
            });
            return 0;
        });

    /// <summary>Enters a request into a device's block layer.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="operation">READ 0, WRITE 1, FLUSH 2, DISCARD 3, WRITE_ZEROES 5, or any
    /// other.</param>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length; as it is, without the block layer's splitting.</param>
    /// <param name="flags">Flag bits of the descriptor.</param>
    /// <param name="data">Payload of a write.</param>
    public FakeBlockRequest Submit(int deviceId, byte operation, long offsetBytes = 0,
        long lengthBytes = 0, uint flags = 0, byte[]? data = null)
    {
        bool isPayload = operation is (byte)UblkOperation.Read or (byte)UblkOperation.Write;
        byte[] pages = data ?? (isPayload ? new byte[lengthBytes] : []);
        if (operation == (byte)UblkOperation.Read)
        {
            Array.Fill(pages, FakeBlockRequest.Stale);
        }

        bool isFlush = operation == (byte)UblkOperation.Flush;
        var request = new FakeBlockRequest(operation | flags,
            isFlush ? ulong.MaxValue : (ulong)offsetBytes >> UblkAbi.SectorShift,
            isFlush ? 0 : (uint)(lengthBytes >> UblkAbi.SectorShift), pages);
        Submit(deviceId, request);
        return request;
    }

    /// <summary>Enters a finished request once more; no allocation.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="request">A request that is done.</param>
    public void Submit(int deviceId, FakeBlockRequest request)
    {
        lock (Gate)
        {
            request.Reset();
            _devices[deviceId].Queue(request);
        }
    }

    /// <summary>Enters a request with any start and length, as no client would.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="operation">Operation.</param>
    /// <param name="startSector">Start in sectors.</param>
    /// <param name="sectorCount">Length in sectors.</param>
    public FakeBlockRequest SubmitRaw(
        int deviceId, byte operation, ulong startSector, uint sectorCount)
    {
        var request = new FakeBlockRequest(operation, startSector, sectorCount,
            new byte[Math.Min((long)sectorCount << UblkAbi.SectorShift, 1 << 22)]);
        Submit(deviceId, request);
        return request;
    }

    /// <summary>
    /// Hands completions to the queues of the calling thread. Answers how many; never nested.
    /// </summary>
    /// <param name="budget">Most completions per queue.</param>
    public int Pump(int budget = int.MaxValue)
    {
        int total = 0;
        for (int i = 0; i < _handles.Count; i++)
        {
            List<FakeQueueDriver> queues = _handles[i].Queues;
            for (int k = 0; k < queues.Count; k++)
            {
                total += queues[k].Pump(budget);
            }
        }

        return total;
    }

    /// <summary>A client opens or closes the block device.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="count">Opens from now on.</param>
    public void SetClientOpens(int deviceId, int count) =>
        Locked(() => _devices[deviceId].ClientOpens = count);

    /// <summary>
    /// STOP_DEV by somebody else, without waiting: it ends when the last request is answered.
    /// </summary>
    /// <param name="deviceId">Device.</param>
    public void BeginStop(int deviceId) => Locked(() =>
    {
        _devices[deviceId].BeginStop();
        return 0;
    });

    /// <summary>
    /// Kills the server process of every device: handles, mappings and commands go.
    /// </summary>
    public void KillServer()
    {
        lock (Gate)
        {
            foreach (FakeCharDevice handle in _handles)
            {
                handle.IsKilled = true;
            }

            _handles.Clear();
            foreach (FakeUblkDevice device in _devices.Values.ToArray())
            {
                device.MappedCount = 0;
                device.CommandCount = 0;
                device.Opener?.Dispose();
                device.ReleaseIfUnreferenced();
            }

            foreach (FakeBufferTable table in _tables.Values)
            {
                table.Clear();
            }

            Changed();
        }
    }

    /// <summary>State of a device.</summary>
    /// <param name="deviceId">Device.</param>
    public UblkDeviceState StateOf(int deviceId) => Locked(() => _devices[deviceId].State);

    /// <summary>Parameters of a device.</summary>
    /// <param name="deviceId">Device.</param>
    public UblkParameters ParametersOf(int deviceId) => Locked(() => _devices[deviceId].Parameters);

    /// <summary>Requests that servers have and have not answered.</summary>
    /// <param name="deviceId">Device.</param>
    public int InHandCount(int deviceId) => Locked(() => _devices[deviceId].InHandCount);

    /// <summary>Waits until something holds.</summary>
    /// <param name="condition">What; looked at after every change.</param>
    public bool WaitUntil(Func<bool> condition) => Locked(() => WaitFor(condition));

    /// <summary>Makes every place of a loop's table look occupied, or free again.</summary>
    /// <param name="loop">The loop.</param>
    /// <param name="isBlocked">Occupied.</param>
    public void BlockTable(Loop loop, bool isBlocked) => Locked(() =>
    {
        TableOf(loop).Block(isBlocked);
        return 0;
    });

    /// <summary>Throws when the server broke a rule or committed a part.</summary>
    public void AssertSound()
    {
        if (Violations.Count > 0 || ShortCommitCount > 0)
        {
            throw new InvalidOperationException(
                $"{ShortCommitCount} short commits; {string.Join("; ", Violations)}");
        }
    }

    /// <summary>
    /// Starts a fixed operation on a registered place: the request there is used until
    /// <see cref="Unpin"/>. −EFAULT when the place is empty, too short, or the direction is wrong.
    /// </summary>
    /// <param name="loop">The loop whose table it is.</param>
    /// <param name="buffer">A registered buffer.</param>
    /// <param name="isDestination">The operation writes into the buffer (a read).</param>
    /// <param name="request">The request.</param>
    public int Pin(Loop loop, in IoBuffer buffer, bool isDestination, out FakeBlockRequest? request)
    {
        lock (Gate)
        {
            request = TableOf(loop).At(buffer.TableIndex);
            if (request is null || request.IsRead != isDestination ||
                request.Pages.Length < buffer.LengthBytes)
            {
                request = null;
                return FakeErrno.Fault;
            }

            request.PinCount++;
            return 0;
        }
    }

    /// <summary>Ends a fixed operation.</summary>
    /// <param name="request">As pinned.</param>
    public void Unpin(FakeBlockRequest request)
    {
        lock (Gate)
        {
            request.PinCount--;
            request.Device!.FinishIfUnused(request);
        }
    }

    /// <summary>Which request is at a place now.</summary>
    /// <param name="loop">The loop.</param>
    /// <param name="index">The place.</param>
    public FakeBlockRequest? RegisteredAt(Loop loop, int index)
    {
        lock (Gate)
        {
            return TableOf(loop).At(index);
        }
    }

    internal FakeBufferTable TableOf(Loop loop)
    {
        if (!_tables.TryGetValue(loop, out FakeBufferTable? table))
        {
            table = new FakeBufferTable(loop.Buffers.Capacity);
            _tables.Add(loop, table);
        }

        return table;
    }

    internal void Violate(string what) => _violations.Add(what);

    internal void Changed() => Monitor.PulseAll(Gate);

    internal void Forget(FakeUblkDevice device)
    {
        if (device.IsDeleted && !device.HasReferences)
        {
            _devices.Remove(device.Id);
            Changed();
        }
    }

    internal int? TakeInjected(FakeCommand command)
    {
        if (command < FakeCommand.OpenQueue)
        {
            _log.Add(command);
        }

        for (int i = 0; i < _injected.Count; i++)
        {
            Injected fault = _injected[i];
            if (fault.Command != command || fault.Count == 0)
            {
                continue;
            }

            if (fault.Skip > 0)
            {
                fault.Skip--;
                continue;
            }

            fault.Count--;
            return fault.Result;
        }

        return null;
    }

    internal void ThrowIfInjected(FakeCommand command)
    {
        if (TakeInjected(command) is { } result)
        {
            throw new Uring.Native.SystemCallException(command.ToString(), result);
        }
    }

    private T Locked<T>(Func<T> function)
    {
        lock (Gate)
        {
            return function();
        }
    }

    private sealed class Injected
    {
        public required FakeCommand Command { get; init; }
        public required int Result { get; init; }
        public required int Skip { get; set; }
        public required int Count { get; set; }
    }
}
