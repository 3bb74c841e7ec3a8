using Ublk.Frontend.Ublk;

namespace Ublk.Testing;

/// <summary>What a positive result below the full length of a read or write does.</summary>
public enum ShortCommitRule
{
    /// <summary>The request is taken for complete (7.3).</summary>
    FullSuccess,
    /// <summary>The rest comes again as a request of its own (up to 7.2).</summary>
    RequeuesRest,
}

/// <summary>
/// One kernel version as the ublk driver's users see it; observed facts, not guesses.
/// </summary>
public sealed record KernelProfile
{
    /// <summary>Bits the driver switches on by itself, where it has them.</summary>
    private const UblkFeatures Granted = UblkFeatures.CompleteInTask |
        UblkFeatures.CommandIoctlEncode | UblkFeatures.PerIoDaemon |
        UblkFeatures.BufferRegistrationOffDaemon | UblkFeatures.SafeStop;

    /// <summary>Last kernel without user copy and without GET_FEATURES.</summary>
    public static readonly KernelProfile V6_4 = new()
    {
        Name = "6.4",
        Features = (UblkFeatures)0x7E,
        HasFeatureQuery = false,
        HasDeleteAsync = false,
        AcceptsReissueAlone = true,
    };

    /// <summary>User copy only.</summary>
    public static readonly KernelProfile V6_12 = new()
    {
        Name = "6.12",
        Features = (UblkFeatures)0x1FE,
        AcceptsReissueAlone = true,
    };

    /// <summary>First with auto buffers, resize and quiesce.</summary>
    public static readonly KernelProfile V6_16 = new()
    {
        Name = "6.16",
        Features = (UblkFeatures)0x3FFF,
        CrashesOnEarlyResize = true,
        OverReportsCopies = true,
    };

    /// <summary>A refused fetch makes its tag unusable.</summary>
    public static readonly KernelProfile V6_18 = new()
    {
        Name = "6.18",
        Features = (UblkFeatures)0x7FFF,
        CrashesOnEarlyResize = true,
        OverReportsCopies = true,
        RefusedFetchPoisons = true,
    };

    /// <summary>TRY_STOP and no partition scan.</summary>
    public static readonly KernelProfile V7_2 = new()
    {
        Name = "7.2",
        Features = (UblkFeatures)0xFFFFF,
    };

    /// <summary>Short commits are full successes.</summary>
    public static readonly KernelProfile V7_3 = new()
    {
        Name = "7.3",
        Features = (UblkFeatures)0x1FFFFF,
        ShortCommits = ShortCommitRule.FullSuccess,
        EchoesBufferWord = true,
    };

    /// <summary>Every profile, oldest first.</summary>
    public static readonly IReadOnlyList<KernelProfile> All =
        [V6_4, V6_12, V6_16, V6_18, V7_2, V7_3];

    /// <summary>The profiles a device can be served on.</summary>
    public static readonly IReadOnlyList<KernelProfile> Usable =
        [V6_12, V6_16, V6_18, V7_2, V7_3];

    /// <summary>Version.</summary>
    public required string Name { get; init; }

    /// <summary>Mask of GET_FEATURES.</summary>
    public required UblkFeatures Features { get; init; }

    /// <summary>Has GET_FEATURES (6.5).</summary>
    public bool HasFeatureQuery { get; init; } = true;

    /// <summary>Has DEL_DEV_ASYNC (6.9).</summary>
    public bool HasDeleteAsync { get; init; } = true;

    /// <summary>See <see cref="ShortCommitRule"/>.</summary>
    public ShortCommitRule ShortCommits { get; init; } = ShortCommitRule.RequeuesRest;

    /// <summary>UPDATE_SIZE before the device is live is a NULL dereference.</summary>
    public bool CrashesOnEarlyResize { get; init; }

    /// <summary>A user copy past the end reports more bytes than it moved.</summary>
    public bool OverReportsCopies { get; init; }

    /// <summary>After a refused fetch a good one is refused, too.</summary>
    public bool RefusedFetchPoisons { get; init; }

    /// <summary>REISSUE without USER_RECOVERY is taken.</summary>
    public bool AcceptsReissueAlone { get; init; }

    /// <summary>The descriptor's address repeats the auto-buffer word.</summary>
    public bool EchoesBufferWord { get; init; }

    /// <summary>Finds a profile by its version.</summary>
    /// <param name="name">Version, "6.16".</param>
    public static KernelProfile Of(string name) => All.Single(profile => profile.Name == name);

    /// <summary>Flag negotiation of ADD_DEV: 0 with what is granted, or −EINVAL.</summary>
    /// <param name="wanted">Flags asked for.</param>
    /// <param name="granted">Flags the device gets.</param>
    public int Negotiate(UblkFeatures wanted, out UblkFeatures granted)
    {
        const UblkFeatures CopyModes = UblkFeatures.UserCopy | UblkFeatures.SupportZeroCopy |
            UblkFeatures.AutoBufferRegistration;
        granted = (wanted & Features) | (Granted & Features);
        bool hasRecovery = granted.HasFlag(UblkFeatures.UserRecovery);
        bool reissues = granted.HasFlag(UblkFeatures.UserRecoveryReissue);
        bool fails = granted.HasFlag(UblkFeatures.UserRecoveryFailIo);
        bool isUnprivileged = wanted.HasFlag(UblkFeatures.UnprivilegedDevice);
        if ((reissues && !hasRecovery && !AcceptsReissueAlone) ||
            (fails && (!hasRecovery || reissues)) ||
            (granted.HasFlag(UblkFeatures.Quiesce) && !hasRecovery) ||
            (isUnprivileged && (granted & CopyModes) != UblkFeatures.None))
        {
            return FakeErrno.Invalid;
        }

        // The caller is privileged, and copy modes leave nothing to ask data for.
        granted &= ~UblkFeatures.UnprivilegedDevice;
        if ((granted & CopyModes) != UblkFeatures.None)
        {
            granted &= ~UblkFeatures.NeedGetData;
        }

        if (granted.HasFlag(UblkFeatures.BatchIo))
        {
            granted &= ~UblkFeatures.PerIoDaemon;
        }

        return 0;
    }

    /// <inheritdoc/>
    public override string ToString() => Name;
}
