using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>A driver command that needs a 128-byte entry.</summary>
/// <param name="Opcode">The driver's encoded opcode.</param>
/// <param name="Head">Bytes 48 to 55 of the entry.</param>
/// <param name="Data0">Bytes 64 to 71.</param>
/// <param name="Data1">Bytes 72 to 79.</param>
public readonly record struct ControlCommand(uint Opcode, ulong Head, ulong Data0, ulong Data1);

/// <summary>
/// Runs driver commands one at a time, each with a time limit. A driver that does not answer cannot hang
/// the caller: the ring and the memory it may still write to are abandoned, and a new ring is made for
/// the next command. Safe to call from any thread.
/// </summary>
public sealed class ControlRing : IDisposable
{
    /// <summary>Most payload of one command.</summary>
    public const int MaxPayloadBytes = 4096;

    // Rings and memory of commands that never ended. Kept reachable for the life of the process: the
    // collector would otherwise close and unmap what the driver may still write to.
    private static readonly List<(Ring, MemoryMapping)> s_abandoned = [];

    private readonly Lock _gate = new();
    private readonly TimeProvider _time;
    private Ring? _ring;
    private MemoryMapping? _payload;
    private ulong _sequence;

    /// <summary>Makes the runner; its ring is made with the first command.</summary>
    /// <param name="time">Clock of the time limits.</param>
    public ControlRing(TimeProvider time) => _time = time;

    /// <summary>Commands given up after their time limit.</summary>
    public int AbandonedCount { get; private set; }

    /// <summary>
    /// Runs a command. Answers its result, or −ETIME when the time is over (the driver may still carry
    /// it out later).
    /// </summary>
    /// <param name="device">The control device.</param>
    /// <param name="command">The command; bytes 56 to 63 become the payload's address.</param>
    /// <param name="payload">Sent to the driver and filled with what it answers; may be empty.</param>
    /// <param name="limit">Longest wait.</param>
    /// <exception cref="SystemCallException">No ring could be made.</exception>
    public int Execute(
        FileHandle device, in ControlCommand command, Span<byte> payload, TimeSpan limit)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(payload.Length, MaxPayloadBytes, nameof(payload));
        lock (_gate)
        {
            _ring ??= Ring.Create(new RingOptions(4, 16) { IsControl = true });
            _payload ??= MemoryMapping.Allocate(MaxPayloadBytes);
            payload.CopyTo(_payload.Bytes);
            IoBuffer memory = _payload.Slice(0, payload.Length);
            SubmissionEntry entry = Entries.Command(RingFile.Of(device), command.Opcode, 0,
                command.Head, payload.IsEmpty ? 0 : memory.Address);
            entry.UserData = ++_sequence;
            if (!_ring.TryAppendLong(entry, command.Data0, command.Data1))
            {
                throw new InvalidOperationException("control ring is full");
            }

            if (!TryAwait(limit, out int result))
            {
                lock (s_abandoned)
                {
                    s_abandoned.Add((_ring, _payload));
                }

                _ring = null;
                _payload = null;
                AbandonedCount++;
                return result;
            }

            _payload.Bytes[..payload.Length].CopyTo(payload);
            return result;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _ring?.Dispose();
            _payload?.Dispose();
            _ring = null;
            _payload = null;
        }
    }

    // False when the command may still run: its time is over (−ETIME), or the ring failed.
    private bool TryAwait(TimeSpan limit, out int result)
    {
        long start = _time.GetTimestamp();
        while (true)
        {
            TimeSpan left = limit - _time.GetElapsedTime(start);
            int entered = _ring!.Enter(1, left > TimeSpan.Zero ? left : TimeSpan.Zero);
            while (_ring.TryReap(out CompletionEntry completion))
            {
                if (completion.UserData == _sequence)
                {
                    result = completion.Result;
                    return true;
                }
            }

            bool isFailed = entered < 0 && entered != -Errno.ETIME;
            if (isFailed || left <= TimeSpan.Zero)
            {
                result = isFailed ? entered : -Errno.ETIME;
                return false;
            }
        }
    }
}
