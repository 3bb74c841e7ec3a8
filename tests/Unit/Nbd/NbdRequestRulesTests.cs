using Ublk.Frontend.Nbd;
using Xunit;

namespace Ublk.Tests.Unit.Nbd;

/// <summary>Which request gets which error ("Error values", "Command flags", "Request types").</summary>
public sealed class NbdRequestRulesTests
{
    private const long Size = 1 << 20;
    private const int MaxPayload = 64 << 10;

    [Theory]
    [InlineData(NbdCommand.Read, 0, 0, 512, NbdError.None)]
    [InlineData(NbdCommand.Read, 0, Size - 512, 512, NbdError.None)]
    [InlineData(NbdCommand.Read, 0, Size - 512, 1024, NbdError.Invalid)]
    [InlineData(NbdCommand.Read, 0, -512, 1024, NbdError.Invalid)]
    [InlineData(NbdCommand.Read, 0, 0, -512, NbdError.Invalid)]
    [InlineData(NbdCommand.Read, 0, 0, 0, NbdError.Invalid)]
    [InlineData(NbdCommand.Read, 0, 1, 512, NbdError.Invalid)]
    [InlineData(NbdCommand.Read, 0, 0, 513, NbdError.Invalid)]
    [InlineData(NbdCommand.Read, 0, 0, MaxPayload, NbdError.None)]
    [InlineData(NbdCommand.Read, 0, 0, MaxPayload + 512, NbdError.Overflow)]
    [InlineData(NbdCommand.Read, 4, 0, 512, NbdError.None)]
    [InlineData(NbdCommand.Read, 2, 0, 512, NbdError.Invalid)]
    [InlineData(NbdCommand.Read, 1, 0, 512, NbdError.None)]
    [InlineData(NbdCommand.Write, 1, 0, 512, NbdError.None)]
    [InlineData(NbdCommand.Write, 0, Size, 512, NbdError.NoSpace)]
    [InlineData(NbdCommand.Write, 0, 0, MaxPayload + 512, NbdError.Invalid)]
    [InlineData(NbdCommand.Write, 0x20, 0, 512, NbdError.Invalid)]
    [InlineData(NbdCommand.Write, 0x8000, 0, 512, NbdError.Invalid)]
    [InlineData(NbdCommand.Trim, 0, 0, Size, NbdError.None)]
    [InlineData(NbdCommand.Trim, 0, 512, Size, NbdError.Invalid)]
    [InlineData(NbdCommand.WriteZeroes, 0x13, 0, Size, NbdError.None)]
    [InlineData(NbdCommand.WriteZeroes, 0, 512, Size, NbdError.NoSpace)]
    [InlineData(NbdCommand.Flush, 1, 0, 0, NbdError.None)]
    [InlineData(NbdCommand.Flush, 0, 512, 0, NbdError.Invalid)]
    [InlineData(NbdCommand.Cache, 0, 0, Size, NbdError.None)]
    [InlineData(NbdCommand.Cache, 8, 0, Size, NbdError.Invalid)]
    [InlineData(NbdCommand.BlockStatus, 8, 0, Size, NbdError.None)]
    [InlineData(NbdCommand.BlockStatus, 0, 0, Size + 512, NbdError.Invalid)]
    [InlineData((NbdCommand)8, 0, 0, 512, NbdError.Invalid)]
    [InlineData((NbdCommand)0xffff, 0, 0, 512, NbdError.Invalid)]
    internal void RequestsGetTheirError(
        NbdCommand command, int flags, long offset, long length, NbdError error) =>
        Assert.Equal(error, Check(Rules(), command, flags, offset, length));

    [Theory]
    [InlineData(NbdCommand.Write, NbdError.Permission)]
    [InlineData(NbdCommand.Trim, NbdError.Permission)]
    [InlineData(NbdCommand.WriteZeroes, NbdError.Permission)]
    [InlineData(NbdCommand.Read, NbdError.None)]
    [InlineData(NbdCommand.Cache, NbdError.None)]
    [InlineData(NbdCommand.BlockStatus, NbdError.None)]
    internal void NothingChangesAReadOnlyExport(NbdCommand command, NbdError error) => Assert.Equal(
        error, Check(Rules() with { IsReadOnly = true, CanTrim = false }, command, 0, 0, 512));

    [Fact]
    public void WhatWasNotNegotiatedIsRefused()
    {
        NbdRequestRules simple = Rules() with { Style = NbdReplyStyle.Simple };
        Assert.Equal(NbdError.Invalid, Check(simple, NbdCommand.Read, 4, 0, 512));
        Assert.Equal(NbdError.Invalid, Check(simple, NbdCommand.Read, 0, 0, MaxPayload + 512));
        Assert.Equal(NbdError.Invalid,
            Check(Rules() with { HasContext = false }, NbdCommand.BlockStatus, 0, 0, 512));
        Assert.Equal(NbdError.Invalid, Check(Rules() with { CanTrim = false }, NbdCommand.Trim, 0, 0, 512));
    }

    [Theory]
    [InlineData(NbdCommand.Write, 0x20, NbdError.None)]
    [InlineData(NbdCommand.Write, 0, NbdError.Invalid)]
    [InlineData(NbdCommand.Read, 0x20, NbdError.Invalid)]
    [InlineData(NbdCommand.BlockStatus, 0x20, NbdError.Invalid)]
    internal void WithExtendedHeadersAWriteSaysThatItHasPayload(
        NbdCommand command, int flags, NbdError error) => Assert.Equal(
        error, Check(Rules() with { Style = NbdReplyStyle.Extended }, command, flags, 0, 512));

    [Fact]
    public void LargerBlocksHaveLargerAlignment()
    {
        NbdRequestRules rules = Rules() with { BlockBytes = 4096 };
        Assert.Equal(NbdError.Invalid, Check(rules, NbdCommand.Read, 0, 512, 4096));
        Assert.Equal(NbdError.Invalid, Check(rules, NbdCommand.Write, 0, 0, 512));
        Assert.Equal(NbdError.None, Check(rules, NbdCommand.Write, 0, 4096, 8192));
    }

    private static NbdRequestRules Rules() => new(
        NbdReplyStyle.Structured, 512, MaxPayload, IsReadOnly: false, CanTrim: true, HasContext: true);

    private static NbdError Check(
        in NbdRequestRules rules, NbdCommand command, int flags, long offset, long length) =>
        NbdOutcomes.ErrorOf(rules.Check(
            new NbdRequest(command, (NbdCommandFlags)flags, 1, (ulong)offset, (ulong)length), Size));
}
