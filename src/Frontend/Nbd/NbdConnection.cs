using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;

namespace Ublk.Frontend.Nbd;

/// <summary>
/// The life of one connection: negotiation, maybe TLS in the middle of it, requests, the end. On the loop's
/// thread.
/// </summary>
internal sealed class NbdConnection
{
    private readonly NbdServer _server;
    private readonly NbdNegotiation _negotiation;
    private ConnectionContext _connection;
    private NbdTransmission? _transmission;
    private Phase _phase;
    private long _begunAt;
    private bool _isTimed;

    /// <summary>Nothing happens before <see cref="RunAsync"/>.</summary>
    /// <param name="server">Whose client this is.</param>
    /// <param name="connection">The connection; owned from now on.</param>
    public NbdConnection(NbdServer server, ConnectionContext connection)
    {
        _server = server;
        _connection = connection;
        _negotiation = new NbdNegotiation(server.NegotiationOptions, server.Exports);
    }

    private enum Phase : byte
    {
        Negotiating,
        Serving,
        Closing,
    }

    /// <summary>Ends with the connection, whose socket is closed then; never fails.</summary>
    public Task Ended { get; private set; } = Task.CompletedTask;

    /// <summary>Why the client was hung up on; null where nobody complained.</summary>
    public string? Complaint { get; private set; }

    /// <summary>Begins.</summary>
    public void Start() => Ended = RunAsync();

    /// <summary>The server goes: what is in hand is finished, then it is hung up.</summary>
    public void Stop()
    {
        _negotiation.IsStopping = true;
        _transmission?.Stop();
        if (_phase == Phase.Negotiating)
        {
            Abort("the server stops");
        }
    }

    /// <summary>Hangs up at once.</summary>
    /// <param name="complaint">Why.</param>
    public void Abort(string complaint)
    {
        Complaint ??= complaint;
        _connection.Abort(new ConnectionAbortedException(complaint));
    }

    /// <summary>Time passes.</summary>
    /// <param name="nowNs">The clock, in nanoseconds.</param>
    public void OnTick(long nowNs)
    {
        _begunAt = _isTimed ? _begunAt : nowNs;
        _isTimed = true;
        var spent = TimeSpan.FromMicroseconds((nowNs - _begunAt) / 1000);
        string? complaint = _phase switch
        {
            Phase.Negotiating => spent > _server.Options.NegotiationLimit
                ? "the client has not chosen an export in time" : null,
            Phase.Serving => _transmission!.OnTick(nowNs),
            _ => spent > _server.Options.CloseLimit ? "the client does not hang up" : null,
        };
        if (complaint is not null)
        {
            Abort(complaint);
        }
    }

    private async Task RunAsync()
    {
        try
        {
            if (await NegotiateAsync().ConfigureAwait(false))
            {
                await ServeAsync().ConfigureAwait(false);
            }

            Enter(Phase.Closing);
            await HangUpAsync().ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is IOException or ConnectionAbortedException)
        {
            Complaint ??= failure.Message;
        }

        Enter(Phase.Closing);
        await _connection.DisposeAsync().ConfigureAwait(false);
        await _server.ForgetAsync(this).ConfigureAwait(false);
    }

    private void Enter(Phase phase)
    {
        _phase = phase;
        _isTimed = false;
    }

    private async Task<bool> NegotiateAsync()
    {
        NbdNegotiation.Greet(_connection.Transport.Output);
        await _connection.Transport.Output.FlushAsync().ConfigureAwait(false);
        while (_negotiation.Stage < NbdNegotiationStage.Agreed)
        {
            if (!await TakeMessageAsync(_connection.Transport).ConfigureAwait(false))
            {
                return false;
            }

            if (_negotiation.Stage == NbdNegotiationStage.Securing)
            {
                _connection = await _server.Options.Tls!.SecureAsync(_connection).ConfigureAwait(false);
                _negotiation.OnSecured();
            }
        }

        Complaint ??= _negotiation.Complaint;
        return _negotiation.Stage == NbdNegotiationStage.Agreed;
    }

    // What one message is answered with is sent before the next one is looked at: so nobody makes us keep
    // answers that they do not take.
    private async ValueTask<bool> TakeMessageAsync(IDuplexPipe pipes)
    {
        ReadResult read = await pipes.Input.ReadAsync().ConfigureAwait(false);
        NbdNegotiationStage stage = _negotiation.Stage;
        long taken = _negotiation.Take(read.Buffer, pipes.Output);
        bool isWaiting = taken == 0 && _negotiation.Stage == stage;

        // Said in the clear, it must not be taken for something that came through TLS.
        bool isInjected = _negotiation.Stage == NbdNegotiationStage.Securing && taken < read.Buffer.Length;
        SequencePosition consumed = read.Buffer.GetPosition(taken);
        pipes.Input.AdvanceTo(consumed, isWaiting ? read.Buffer.End : consumed);
        await pipes.Output.FlushAsync().ConfigureAwait(false);
        if (isInjected)
        {
            Complaint ??= "something follows STARTTLS that is not secured";
            return false;
        }

        return !(read.IsCompleted && isWaiting);
    }

    private async Task ServeAsync()
    {
        _transmission = new NbdTransmission(
            _connection.Transport, _negotiation.Agreement, _server.TransmissionOptions, _server.Pool,
            _server.Zeros);
        Enter(Phase.Serving);
        if (_negotiation.IsStopping)
        {
            _transmission.Stop();
        }

        await _transmission.RunAsync().ConfigureAwait(false);
        Complaint ??= _transmission.Complaint;
    }

    // What the client has not read is lost if it still sends: so what it sends is read until it hangs up.
    private async Task HangUpAsync()
    {
        IDuplexPipe pipes = _connection.Transport;
        await pipes.Output.CompleteAsync().ConfigureAwait(false);
        while (true)
        {
            ReadResult read = await pipes.Input.ReadAsync().ConfigureAwait(false);
            pipes.Input.AdvanceTo(read.Buffer.End);
            if (read.IsCompleted)
            {
                return;
            }
        }
    }
}
