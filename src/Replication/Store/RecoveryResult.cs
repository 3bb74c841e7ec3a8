namespace Ublk.Replication.Store;

/// <summary>What is wrong with the metadata of a replica. Anything but None means: quarantine it.</summary>
public enum MetadataDamage : byte
{
    /// <summary>Nothing.</summary>
    None,
    /// <summary>A later version of the program wrote it; nothing is damaged.</summary>
    Newer,
    /// <summary>The ring has no record at all.</summary>
    NoRecord,
    /// <summary>A record that is needed is damaged, and later ones are whole: a hole.</summary>
    Hole,
    /// <summary>A record does not follow the one before it.</summary>
    BrokenChain,
    /// <summary>A record lies where another one belongs: a misdirected write.</summary>
    Misplaced,
    /// <summary>More records at the end are damaged than one write could have torn.</summary>
    UnclearTail,
    /// <summary>The live page names a durable record that the ring does not have.</summary>
    LostRecord,
    /// <summary>The vault names a durable record that the ring does not have.</summary>
    VaultAhead,
    /// <summary>The vault cannot be read, so nobody can tell whether the ring is complete.</summary>
    NoVault,
    /// <summary>A whole record holds what cannot be.</summary>
    ImpossibleEntry,
}

/// <summary>What recovery found that needs no quarantine, but should be known.</summary>
/// <param name="Text">What, and where.</param>
/// <param name="OffsetBytes">Offset in the metadata file.</param>
public readonly record struct StoreFinding(string Text, long OffsetBytes);

/// <summary>What the metadata of a replica turned out to be.</summary>
public sealed record RecoveryResult
{
    /// <summary>What is wrong; None when the state can be used.</summary>
    public required MetadataDamage Damage { get; init; }

    /// <summary>The state; null when anything is wrong.</summary>
    public MetadataState? State { get; init; }

    /// <summary>Where the log goes on.</summary>
    public LogPosition Position { get; init; }

    /// <summary>For people: what is damaged, and where. Empty when nothing is.</summary>
    public string Text { get; init; } = "";

    /// <summary>Number of the record that is damaged or missing; 0 where that makes no sense.</summary>
    public ulong Record { get; init; }

    /// <summary>Its offset in the metadata file.</summary>
    public long OffsetBytes { get; init; }

    /// <summary>Whether the last write was torn, which is normal after a crash.</summary>
    public bool HasTornTail { get; init; }

    /// <summary>What should be known; nothing that keeps the replica from being used.</summary>
    public IReadOnlyList<StoreFinding> Findings { get; init; } = [];

    /// <summary>What the newest record of the vault says; null when it has none.</summary>
    public VaultContent? Vault { get; init; }
}
