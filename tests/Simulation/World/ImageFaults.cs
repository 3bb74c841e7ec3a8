namespace Ublk.Tests.Simulation.World;

/// <summary>What may go wrong with a disk, each so many times in a thousand.</summary>
internal sealed record ImageFaults
{
    /// <summary>Nothing goes wrong.</summary>
    public static ImageFaults None { get; } = new();

    /// <summary>A read fails with EIO.</summary>
    public int ReadErrorPermille { get; init; }

    /// <summary>A write fails with EIO, and some of its sectors are changed.</summary>
    public int WriteErrorPermille { get; init; }

    /// <summary>A write fails with ENOSPC.</summary>
    public int NoSpacePermille { get; init; }

    /// <summary>A sync fails with EIO, may lose what it was to cover, and the next one succeeds.</summary>
    public int SyncErrorPermille { get; init; }

    /// <summary>After so many writes one is dropped or goes elsewhere, once; 0 for never.</summary>
    public int StrayWrite { get; init; }

    /// <summary>A read that overlaps a write under way sees some of its sectors.</summary>
    public bool ReadsRace { get; init; }
}
