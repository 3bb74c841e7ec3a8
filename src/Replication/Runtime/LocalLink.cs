namespace Ublk.Replication.Runtime;

/// <summary>
/// The way between the writer and one replica of the same process: one session after the other, each an
/// ordered stream in both directions. A session that ends takes along what was under way, as a broken
/// connection would. Used on the loop's thread.
/// </summary>
/// <param name="memory">Where payload goes back to that nobody takes.</param>
internal sealed class LocalLink(VolumeMemory memory)
{
    private const int None = -1;

    private int _lastSession;

    /// <summary>What the writer has sent.</summary>
    public MessageQueue ToReplica { get; } = new(memory);

    /// <summary>What the replica has sent.</summary>
    public MessageQueue ToPrimary { get; } = new(memory);

    /// <summary>Number of the open session; −1 for none.</summary>
    public int Session { get; private set; } = None;

    /// <summary>Whether a session is open.</summary>
    public bool IsOpen => Session != None;

    /// <summary>A session that has ended, and of which the writer has not heard; −1 for none.</summary>
    public int Ended { get; private set; } = None;

    /// <summary>Whether the replica too has to hear of that.</summary>
    public bool MustTellReplica { get; private set; }

    /// <summary>Opens the next session; the one before has ended.</summary>
    public void Open() => Session = ++_lastSession;

    /// <summary>Ends the open session, if there is one.</summary>
    /// <param name="byReplica">Whether the replica ended it.</param>
    public void End(bool byReplica)
    {
        if (IsOpen)
        {
            Ended = Session;
            MustTellReplica = !byReplica;
            Session = None;
            ToReplica.Clear();
            ToPrimary.Clear();
        }
    }

    /// <summary>Both ends know of the end.</summary>
    public void ForgetEnded() => Ended = None;
}
