using System.CommandLine;
using System.Text;
using Ublk.Frontend.Nbd;
using Ublk.Node.Local;
using Ublk.Uring;

namespace Ublk.Node.Cli;

/// <summary>The verb 'local export'.</summary>
internal static class ExportCommand
{
    private static readonly Argument<string> s_image = new("IMAGE")
    {
        Description = "Raw image: a regular file or a block device",
    };

    private static readonly Option<string> s_nbd = new("--nbd")
    {
        Description = "Where to listen: the path of a unix socket, or HOST:PORT",
        HelpName = "SOCKET|HOST:PORT",
        Required = true,
    };

    private static readonly Option<string> s_name = new("--name")
    {
        Description = "Name of the export; clients get it by an empty name, too",
        DefaultValueFactory = _ => "",
    };

    private static readonly Option<bool> s_readOnly = new("--read-only") { Description = "Take no writes" };

    private static readonly Option<int> s_blockSize = new("--block-size")
    {
        Description = "Minimum block in bytes: 512, 1024, 2048 or 4096; without it the image's own",
    };

    private static readonly Option<DirectMode> s_direct = new("--direct")
    {
        Description = "Go past the page cache (O_DIRECT)",
        DefaultValueFactory = _ => DirectMode.Auto,
    };

    private static readonly Option<long> s_memory = AttachOptions.SizeOption("--memory",
        "Payload memory, locked where that is allowed: 2M to 1G; without it 64M");

    private static readonly Option<int?> s_processor = new("--cpu")
    {
        Description = "Processor for the serving thread",
    };

    private static readonly Option<string?> s_certificate = new("--tls-cert")
    {
        Description = "Certificate of this server, PEM: clients have to use TLS, and show one of their own",
        HelpName = "FILE",
    };

    private static readonly Option<string?> s_key = new("--tls-key")
    {
        Description = "Key of that certificate, PEM", HelpName = "FILE",
    };

    private static readonly Option<string?> s_authority = new("--tls-ca")
    {
        Description = "Certificates of the authority that issues those of clients, PEM", HelpName = "FILE",
    };

    /// <summary>The command.</summary>
    public static Command Build()
    {
        var command = new Command("export",
            "Serve a raw image to NBD clients (QEMU, libnbd, the kernel's nbd) until Ctrl-C. Needs no " +
            "privileges beyond those for the image. Without TLS whoever reaches the address has the " +
            "image: a unix socket is protected by its directory, TCP by nothing")
        {
            s_image, s_nbd, s_name, s_readOnly, s_blockSize, s_direct, s_memory, s_processor,
            s_certificate, s_key, s_authority,
        };
        AddValidators();
        command.Validators.Add(result =>
        {
            int given = (result.GetResult(s_certificate) is null ? 0 : 1) +
                (result.GetResult(s_key) is null ? 0 : 1) + (result.GetResult(s_authority) is null ? 0 : 1);
            if (given is 1 or 2)
            {
                result.AddError($"{s_certificate.Name}, {s_key.Name} and {s_authority.Name} go together");
            }
        });
        command.Run((parse, output) =>
            new LocalExport(output, TimeProvider.System).RunAsync(Read(parse)));
        return command;
    }

    private static LocalExportOptions Read(ParseResult parse)
    {
        _ = NbdAddress.TryParse(parse.GetValue(s_nbd)!, out NbdAddress? address, out _);
        var options = new LocalExportOptions
        {
            Image = Path.GetFullPath(parse.GetValue(s_image)!),
            Address = address!,
            Name = parse.GetValue(s_name)!,
            ReadOnly = parse.GetValue(s_readOnly),
            BlockBytes = parse.GetValue(s_blockSize),
            Direct = parse.GetValue(s_direct),
            Processor = parse.GetValue(s_processor),
            Tls = parse.GetValue(s_certificate) is { } certificate
                ? new ExportTlsFiles(
                    certificate, parse.GetValue(s_key)!, parse.GetValue(s_authority)!)
                : null,
        };
        long memory = parse.GetValue(s_memory);
        return memory == 0 ? options : options with { PoolBytes = memory };
    }

    private static void AddValidators()
    {
        AttachOptions.Range(
            s_blockSize, value => value is 0 or 512 or 1024 or 2048 or 4096, "512, 1024, 2048 or 4096");
        AttachOptions.Range(s_memory, value => value is 0 or (>= 2 << 20 and <= 1 << 30), "2M to 1G");
        AttachOptions.Range(s_processor, value => value is null or (>= 0 and < 1024), "0 to 1023");
        AttachOptions.Range(s_name,
            value => Encoding.UTF8.GetByteCount(value ?? "") <= NbdExport.MaxTextBytes,
            $"at most {NbdExport.MaxTextBytes} bytes");
        s_nbd.Validators.Add(result =>
        {
            if (AttachOptions.TryGet(result.GetValueOrDefault<string>, out string? text) &&
                text is not null && !NbdAddress.TryParse(text, out _, out string? problem))
            {
                result.AddError($"{s_nbd.Name}: {problem}");
            }
        });
    }
}
