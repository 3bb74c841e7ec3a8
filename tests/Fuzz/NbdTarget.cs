using System.Buffers;
using System.IO.Pipelines;
using Ublk.Frontend.Nbd;
using Ublk.Testing;
using Ublk.Tests.Unit.Nbd;
using Ublk.Tests.Unit.Wire;
using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Fuzz;

/// <summary>
/// What NBD clients say, in the handshake and then as requests: it ends, is understood the same however it is
/// cut, each request is answered at most once and in a way that a client can read, and no memory is lost. The
/// first byte chooses between the handshake and the three ways of asking.
/// </summary>
internal sealed class NbdTarget : IFuzzTarget, IDisposable
{
    private const int DiskBytes = 1 << 20;

    private static readonly BlockLimits s_limits = new()
    {
        MaxDiscardBytes = 64 << 10, MaxWriteZeroesBytes = 64 << 10, HasVolatileCache = true,
    };

    private static readonly NbdExport s_export = new("disk", "", new ModelTarget(DiskBytes, s_limits), 4);

    private readonly PayloadPool _pool = new(4 << 20, table: null);
    private readonly IoBuffer _zeros;

    public NbdTarget()
    {
        FuzzFailure.Unless(_pool.TryRent(4096, out _zeros), "no memory to begin with");
        _zeros.Span.Clear();
    }

    public void Run(byte[] input)
    {
        if (input.Length < 1)
        {
            return;
        }

        byte[] said = input[1..];
        if (input[0] % 4 == 3)
        {
            Negotiate(said);
        }
        else
        {
            Transmit(said, (NbdReplyStyle)(input[0] % 4));
        }
    }

    public IEnumerable<(string Name, byte[] Bytes)> Seeds()
    {
        yield return ("handshake go", [3, .. NbdClientBytes.Flags(3),
            .. NbdClientBytes.Option(NbdOption.StructuredReply), .. NbdClientBytes.Option(NbdOption.List),
            .. NbdClientBytes.Contexts(NbdOption.SetMetaContext, "disk", "base:allocation"),
            .. NbdClientBytes.Info(NbdOption.Go, "disk", NbdInfo.BlockSize)]);
        yield return ("handshake name", [3, .. NbdClientBytes.Flags(1),
            .. NbdClientBytes.Option(NbdOption.ExtendedHeaders, new byte[1]),
            .. NbdClientBytes.Option(NbdOption.StartTls), .. NbdClientBytes.Option(77, new byte[20]),
            .. NbdClientBytes.Option(NbdOption.ExportName, "disk"u8.ToArray())]);
        foreach (NbdReplyStyle style in Enum.GetValues<NbdReplyStyle>())
        {
            byte[] Ask(NbdCommand command, long length, byte[]? payload = null) =>
                NbdClientBytes.Request(style, command, 1, 512, length, 0, payload);
            yield return ($"{style} transfers", [(byte)style, .. Ask(NbdCommand.Write, 512, new byte[512]),
                .. Ask(NbdCommand.Read, 1024), .. Ask(NbdCommand.Write, 5, new byte[5])]);
            yield return ($"{style} ranges", [(byte)style, .. Ask(NbdCommand.Trim, 200 << 10),
                .. Ask(NbdCommand.WriteZeroes, 4096), .. Ask(NbdCommand.BlockStatus, 4096),
                .. Ask(NbdCommand.Cache, 512), .. Ask(NbdCommand.Disconnect, 0)]);
        }
    }

    public void Dispose() => _pool.Dispose();

    private static void Negotiate(byte[] said)
    {
        (NbdNegotiation whole, byte[] answers) = Negotiate(new ReadOnlySequence<byte>(said));
        (NbdNegotiation cut, byte[] same) = Negotiate(Segments.Pieces(said, 3));
        bool isSame = whole.Stage == cut.Stage && whole.Agreement == cut.Agreement;
        FuzzFailure.Unless(isSame, "cuts change the end");
        FuzzFailure.Unless(answers.AsSpan().SequenceEqual(same), "cuts change the answers");
    }

    private static (NbdNegotiation Negotiation, byte[] Answers) Negotiate(ReadOnlySequence<byte> left)
    {
        var output = new ArrayBufferWriter<byte>();
        var negotiation = new NbdNegotiation(new() { Tls = NbdTlsPolicy.Offered }, [s_export]);
        while (true)
        {
            NbdNegotiationStage stage = negotiation.Stage;
            long taken = negotiation.Take(left, output);
            left = left.Slice(taken);
            if (taken == 0 && negotiation.Stage == stage)
            {
                return (negotiation, output.WrittenSpan.ToArray());
            }
        }
    }

    private void Transmit(byte[] said, NbdReplyStyle style)
    {
        long free = _pool.FreeBytes;
        byte[] once = Transmit(said, style, said.Length);
        byte[] again = Transmit(said, style, 7);
        FuzzFailure.Unless(once.AsSpan().SequenceEqual(again), "cuts change the answers");
        FuzzFailure.Unless(_pool.FreeBytes == free, "memory was lost");
        if (style != NbdReplyStyle.Simple) // Those tell how long they are.
        {
            var replies = new NbdReplyReader(style);
            _ = replies.Take(once);
            FuzzFailure.Unless(replies.LeftBytes == 0, "the last answer is cut off");
        }
    }

    private byte[] Transmit(byte[] said, NbdReplyStyle style, int pieceBytes)
    {
        var scheduler = new ManualScheduler();
        var export = new NbdExport("disk", "", new ModelTarget(DiskBytes, s_limits), 4);
        (MemoryConnection near, MemoryConnection far) = MemoryConnection.Pair(scheduler, 64 << 20);
        var options = new NbdTransmissionOptions { MaxPayloadBytes = 2 << 20, MaxHeldBytes = 2 << 20 };
        Task run = new NbdTransmission(
            far, new NbdAgreement(export, style, HasContext: true), options, _pool, _zeros).RunAsync();
        for (int at = 0; at < said.Length && !run.IsCompleted; at += pieceBytes)
        {
            near.Output.Write(said.AsSpan(at, Math.Min(pieceBytes, said.Length - at)));
            FuzzFailure.Unless(near.Output.FlushAsync().AsTask().IsCompleted, "the client has to wait");
            scheduler.TurnAll();
        }

        near.Output.Complete();
        scheduler.TurnAll();
        FuzzFailure.Unless(run.IsCompletedSuccessfully, $"it does not end: {run.Exception}");
        far.Output.Complete();
        scheduler.TurnAll();
        byte[] answers = [];
        if (near.Input.TryRead(out ReadResult read))
        {
            answers = read.Buffer.ToArray();
            near.Input.AdvanceTo(read.Buffer.End);
        }

        return answers;
    }
}
